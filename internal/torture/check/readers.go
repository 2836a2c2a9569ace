package check

import (
	"fmt"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

// slot is a place in Kafka.
type slot struct {
	topic     string
	partition int32
	offset    int64
}

func slotOf(r *journal.Record) slot { return slot{r.Topic, r.Partition, r.Offset} }

func place(r *journal.Record) string {
	return fmt.Sprintf("%s[%d]@%d", r.Topic, r.Partition, r.Offset)
}

func clock(at int64) string { return journal.Time(at).Format("15:04:05.000") }

// readers is I7.
func (c *checker) readers() {
	for _, one := range []struct {
		name    string
		records []journal.Record
	}{{"concurrent", c.book.Concurrent}, {"fresh", c.book.Fresh}, {"uncommitted", c.book.Uncommitted}} {
		c.ascending(one.name, one.records)
	}
	fresh := map[slot]*journal.Record{}
	for i := range c.book.Fresh {
		fresh[slotOf(&c.book.Fresh[i])] = &c.book.Fresh[i]
	}
	seen := 0
	for i := range c.book.Concurrent {
		r := &c.book.Concurrent[i]
		if r.Mark != "" {
			continue
		}
		seen++
		switch f := fresh[slotOf(r)]; {
		case f == nil:
			c.violated("I7", "the concurrent reader saw event %s at %s, the fresh one nothing", r.ID, place(r))
		case f.ID != r.ID || f.Sum != r.Sum:
			c.violated("I7", "at %s the concurrent reader saw event %s with sum %08x, the fresh one %s with %08x",
				place(r), r.ID, r.Sum, f.ID, f.Sum)
		}
	}
	for i := range c.book.Fresh {
		if c.book.Fresh[i].Mark == "" {
			seen--
		}
	}
	if seen < 0 {
		c.violated("I7", "the fresh reader saw %d records that the concurrent one had not seen in the end", -seen)
	}
	c.aborted(fresh)
}

// ascending wants each partition's offsets to rise.
func (c *checker) ascending(name string, records []journal.Record) {
	type lane struct {
		topic     string
		partition int32
	}
	newest := map[lane]int64{}
	for i := range records {
		r := &records[i]
		l := lane{r.Topic, r.Partition}
		if before, known := newest[l]; known && r.Offset <= before {
			c.violated("I7", "the %s reader saw %s after offset %d", name, place(r), before)
		}
		newest[l] = r.Offset
	}
}

// aborted counts what only a read_uncommitted reader sees, and wants it to see all that a read_committed one does.
func (c *checker) aborted(fresh map[slot]*journal.Record) {
	if len(c.book.Uncommitted) == 0 {
		return
	}
	all := map[slot]bool{}
	for i := range c.book.Uncommitted {
		r := &c.book.Uncommitted[i]
		all[slotOf(r)] = true
		if r.Mark == "" && r.Progress == nil && fresh[slotOf(r)] == nil {
			c.figures.Aborted++
		}
	}
	for s, r := range fresh {
		if !all[s] {
			c.violated("I7", "the read_committed reader saw %s, the read_uncommitted one did not", place(r))
		}
	}
}
