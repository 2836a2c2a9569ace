package check

import (
	"cmp"
	"slices"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

// line is what has an order: a key of a topic.
type line struct{ topic, key string }

// ordered gives the committed and delivered events of each serialised key, in the order of their commits.
func (x *index) ordered() map[line][]*fate {
	lines := map[line][]*fate{}
	for _, f := range x.events {
		if f.Ordered && f.Key != nil && f.committed() && len(f.read) > 0 {
			l := line{f.Topic, *f.Key}
			lines[l] = append(lines[l], f)
		}
	}
	for _, events := range lines {
		slices.SortFunc(events, func(a, b *fate) int { return cmp.Compare(a.Seq, b.Seq) })
	}
	return lines
}

func first(f *fate) *journal.Record { return f.read[0] }
func last(f *fate) *journal.Record  { return f.read[len(f.read)-1] }

// inversions are neighbours whose occurrences stand the other way round.
func inversions(events []*fate, occurrence func(*fate) *journal.Record) (found [][2]*fate) {
	for i := 1; i < len(events); i++ {
		before, after := occurrence(events[i-1]), occurrence(events[i])
		if before.Partition != after.Partition || before.Offset > after.Offset {
			found = append(found, [2]*fate{events[i-1], events[i]})
		}
	}
	return found
}

// order is I5. That no seq of the ledger is missing is checked too: a gap would be the harness's own fault, and would
// hide an event that nobody waits for.
func (c *checker) order() {
	known := map[line][]int64{}
	for _, f := range c.index.events {
		if f.Ordered && f.Key != nil && f.committed() {
			l := line{f.Topic, *f.Key}
			known[l] = append(known[l], f.Seq)
		}
	}
	for l, seqs := range known {
		slices.Sort(seqs)
		for i, seq := range seqs {
			if seq != int64(i+1) {
				c.violated("I5", "the ledger of topic %s has seq %d where %d comes next: a key has a gap, which is the writers' fault",
					l.topic, seq, i+1)
				break
			}
		}
	}
	lines := c.index.ordered()
	c.figures.OrderedKeys = len(lines)
	for _, events := range lines {
		for _, pair := range inversions(events, first) {
			c.figures.Inversions++
			c.violated("I5", "event %s (seq %d) comes first at %s, after event %s (seq %d) at %s",
				pair[0].ID, pair[0].Seq, place(first(pair[0])), pair[1].ID, pair[1].Seq, place(first(pair[1])))
		}
	}
}

// staleTail is I6.
func (c *checker) staleTail() {
	for _, events := range c.index.ordered() {
		for _, pair := range inversions(events, last) {
			c.figures.StaleTail++
			stamp := last(pair[0]).Stamp
			if c.book.Run.Mode == journal.AtLeastOnce && within(c.windows, stamp, true) {
				continue
			}
			c.violated("I6", "the last copy of event %s (seq %d) at %s was sent %s and stands after the last of event %s (seq %d) at %s",
				pair[0].ID, pair[0].Seq, place(last(pair[0])), clock(stamp), pair[1].ID, pair[1].Seq, place(last(pair[1])))
		}
	}
}
