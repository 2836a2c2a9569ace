package check

import (
	"cmp"
	"slices"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

// atomicity is I10, as far as a reader can see it. A transaction leaves one mark in each partition that it wrote to.
// A producer of the relay commits transaction after transaction and is thrown away after the first abort; fencing
// aborts under a new epoch. So under one producer id and epoch all marks are commits, but for those of the last
// transaction. An abort that is followed by a commit in another partition, or in the same one, ended half of a
// transaction, or another one than was meant.
func (c *checker) atomicity() {
	if c.book.Run.Mode != journal.ExactlyOnce {
		return
	}
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
