package check

import (
	"cmp"
	"slices"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/internal/torture/journal"
)

// cursor is I8.
func (c *checker) cursor() {
	samples := c.book.Samples
	for i := 1; i < len(samples); i++ {
		before, after := samples[i-1], samples[i]
		if before.System != after.System || before.Timeline != after.Timeline {
			continue
		}
		at := clock(after.At)
		if after.Epoch < before.Epoch {
			c.violated("I8", "the epoch went from %d to %d at %s", before.Epoch, after.Epoch, at)
		}
		if after.Delivered < before.Delivered {
			c.violated("I8", "the count of delivered events went from %d to %d at %s", before.Delivered, after.Delivered, at)
		}
		if why := back(before, after); why != "" {
			c.violated("I8", "the cursor went back at %s: %s (epochs %d and %d)", at, why, before.Epoch, after.Epoch)
		}
	}
}

// back says how the cursor of after covers less than that of before; "" when it does not.
func back(before, after journal.Sample) string {
	b, err := store.ParseSnapshot(before.From)
	if err != nil {
		return err.Error()
	}
	a, err := store.ParseSnapshot(after.From)
	if err != nil {
		return err.Error()
	}
	if !covers(a, b) {
		return "from " + before.From + " to " + after.From
	}
	if before.From != after.From || before.To == "" {
		return ""
	}
	switch {
	case after.To == "":
		return "the window to " + before.To + " is no longer open, and its rows are not covered"
	case after.To == before.To && after.After < before.After:
		return "within the window to " + before.To
	}
	return ""
}

// covers says that every transaction that b shows is shown by a.
func covers(a, b store.Snapshot) bool {
	if a.Xmax < b.Xmax {
		return false
	}
	return !slices.ContainsFunc(a.InProgress, b.Shows)
}

// term is one time that a process led.
type term struct {
	at               int64
	epoch            int64
	replica, process int
}

// epochs is I9.
func (c *checker) epochs() {
	var terms []term
	for _, l := range c.book.Logs {
		for _, line := range l.lines() {
			if line.Message == "leading" {
				terms = append(terms, term{line.Time.UnixMicro(), line.Epoch, l.Replica, l.Process})
			}
		}
	}
	slices.SortFunc(terms, func(a, b term) int { return cmp.Compare(a.epoch, b.epoch) })
	c.figures.Terms = len(terms)
	timelines := map[int32]bool{}
	for _, s := range c.book.Samples {
		timelines[s.Timeline] = true
	}
	if len(timelines) > 1 {
		return // a promotion may have lost the newest epochs, and they are given again
	}
	for i := 1; i < len(terms); i++ {
		before, after := terms[i-1], terms[i]
		if before.epoch == after.epoch {
			c.violated("I9", "epoch %d was led by replica %d (process %d) and by replica %d (process %d)",
				before.epoch, before.replica, before.process, after.replica, after.process)
		} else if after.at < before.at-thousandth {
			c.violated("I9", "epoch %d began at %s, before epoch %d at %s", after.epoch, clock(after.at), before.epoch, clock(before.at))
		}
	}
}

// thousandth of a second is as exact as a log is.
const thousandth = 1000
