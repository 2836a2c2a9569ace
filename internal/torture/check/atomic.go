package check

import (
	"cmp"
	"slices"
	"strings"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

// atomicity is I10, as far as a reader can see it.
func (c *checker) atomicity() {
	if c.book.Run.Mode != journal.ExactlyOnce {
		return
	}
	c.marks()
	c.brackets()
}

// marks looks at how transactions ended. A transaction leaves one mark in each partition that it wrote to.
// A producer of the relay commits transaction after transaction and is thrown away after the first abort; fencing
// aborts under a new epoch. So under one producer id and epoch all marks are commits, but for those of the last
// transaction. An abort that is followed by a commit in another partition, or in the same one, ended half of a
// transaction, or another one than was meant.
func (c *checker) marks() {
	type producer struct {
		id    int64
		epoch int16
	}
	marks := map[producer][]*journal.Record{}
	for i := range c.book.Uncommitted {
		if r := &c.book.Uncommitted[i]; r.Mark != "" {
			p := producer{r.Producer, r.ProducerEpoch}
			marks[p] = append(marks[p], r)
		}
	}
	for p, all := range marks {
		slices.SortStableFunc(all, func(a, b *journal.Record) int { return cmp.Compare(a.Stamp, b.Stamp) })
		c.figures.Marks += len(all)
		abort := slices.IndexFunc(all, func(r *journal.Record) bool { return r.Mark == journal.MarkAbort })
		if abort < 0 {
			continue
		}
		for _, r := range all[abort:] {
			if r.Mark == journal.MarkCommit {
				c.violated("I10", "producer %d, epoch %d: aborted at %s (%s), committed at %s (%s)",
					p.id, p.epoch, place(all[abort]), clock(all[abort].Stamp), place(r), clock(r.Stamp))
			}
		}
	}
}

// brackets looks at the first and the last record of each transaction. Of each transactional id a read_committed reader
// sees a begin record, its progress record, the next begin record, and so on: both of a transaction, or none. And of
// those that are committed, the batches rise, and the epochs do not fall (I9).
func (c *checker) brackets() {
	type lane struct {
		partition int32
		id        string
	}
	open := map[lane]*journal.Record{}
	newest := map[lane]*journal.Record{}
	for i := range c.book.Fresh {
		r := &c.book.Fresh[i]
		if r.Progress == nil {
			continue
		}
		l := lane{r.Partition, strings.TrimSuffix(r.Key, "/begin")}
		begin := open[l]
		if r.Progress.Begin {
			if begin != nil {
				c.violated("I10", "the transaction that begins at %s (batch %d) has no progress record", place(begin), begin.Progress.Batch)
			}
			open[l] = r
			continue
		}
		c.figures.Batches++
		if begin == nil || begin.Progress.Batch != r.Progress.Batch || begin.Progress.Epoch != r.Progress.Epoch {
			c.violated("I10", "the progress record at %s (batch %d) has no begin record of its own before it", place(r), r.Progress.Batch)
		}
		delete(open, l)
		if last := newest[l]; last != nil && !c.commitsLost() {
			if r.Progress.Epoch < last.Progress.Epoch {
				c.violated("I9", "batch %d of epoch %d at %s was committed after one of epoch %d", r.Progress.Batch, r.Progress.Epoch, place(r), last.Progress.Epoch)
			}
			if r.Progress.Batch <= last.Progress.Batch {
				c.violated("I10", "batch %d at %s was committed after batch %d", r.Progress.Batch, place(r), last.Progress.Batch)
			}
		}
		newest[l] = r
	}
	for _, begin := range open {
		c.violated("I10", "the transaction that begins at %s (batch %d) has no progress record", place(begin), begin.Progress.Batch)
	}
}
