package check

import "github.com/outboxrelay/relay/internal/torture/journal"

// loss is I1.
func (c *checker) loss() {
	committed := 0
	for _, f := range c.index.events {
		if !f.committed() {
			continue
		}
		committed++
		if len(f.read) == 0 {
			c.figures.Lost++
			c.violated("I1", "event %s of transaction %s (%s, committed %s) was never read: topic %s, partition %d, seq %d",
				f.ID, f.tx.id, f.tx.kind, clock(f.tx.endAt), f.Topic, f.Partition, f.Seq)
		}
		for _, r := range f.read {
			if r.Sum != f.Sum || r.Topic != f.Topic {
				c.figures.Changed++
				c.violated("I1", "event %s was changed on its way: written to %s with sum %08x, read at %s with %08x",
					f.ID, f.Topic, f.Sum, place(r), r.Sum)
			} else if f.Partition >= 0 && r.Partition != f.Partition {
				c.violated("I1", "event %s belongs into partition %d and was read at %s", f.ID, f.Partition, place(r))
			}
		}
	}
	c.figures.Committed = committed
	if committed == 0 {
		c.violated("I1", "no event was committed: this run proves nothing")
	}
}

// invention is I2. What a promotion has lost, and was published before, is a phantom: I13.
func (c *checker) invention() {
	for _, r := range c.index.strangers {
		c.figures.Invented++
		c.violated("I2", "the record at %s has the id %q, which nobody wrote", place(r), r.ID)
	}
	lost := c.commitsLost()
	for _, f := range c.index.events {
		if f.committed() || len(f.read) == 0 {
			continue
		}
		switch {
		case f.Void:
			c.figures.Invented++
			c.violated("I2", "event %s was rolled back to a savepoint, and read at %s", f.ID, place(f.read[0]))
		case lost && f.tx.end != journal.RolledBack:
			c.figures.Phantoms++
		default:
			c.figures.Invented++
			c.violated("I2", "event %s of transaction %s (%s), which did not commit, was read at %s",
				f.ID, f.tx.id, f.tx.kind, place(f.read[0]))
		}
	}
}

// noCopies is I3.
func (c *checker) noCopies() {
	if c.book.Run.Mode != journal.ExactlyOnce || c.commitsLost() {
		return // after lost commits copies are possible: protocol.md §8
	}
	for _, one := range c.copies {
		c.violated("I3", "event %s was read again at %s (%s), first at %s",
			one.event.ID, place(one.record), clock(one.record.Stamp), place(one.event.read[0]))
	}
}

// fewCopies is I4.
func (c *checker) fewCopies() {
	if c.book.Run.Mode != journal.AtLeastOnce {
		return
	}
	for _, one := range c.copies {
		if !within(c.windows, one.record.Stamp, false) {
			c.violated("I4", "event %s was sent again at %s, when nothing was disturbed: %s",
				one.event.ID, clock(one.record.Stamp), place(one.record))
		}
	}
	if budget := len(c.windows) * c.book.Run.Limits.InFlight; len(c.copies) > budget {
		c.violated("I4", "%d copies; %d disruptions can make %d at most", len(c.copies), len(c.windows), budget)
	}
}

// failover is I13.
func (c *checker) failover() {
	lost := c.commitsLost()
	for _, t := range c.index.transactions {
		switch {
		case t.end == journal.Committed && !t.witnessed:
			c.figures.CommitsLost++
			if !lost {
				c.violated("I13", "PostgreSQL confirmed transaction %s at %s and does not hold it in the end", t.id, clock(t.endAt))
			}
		case t.end == journal.RolledBack && t.witnessed:
			c.violated("I13", "PostgreSQL holds transaction %s, which was rolled back at %s", t.id, clock(t.endAt))
		}
	}
}

// commitsLost says that a standby was promoted that did not have all commits.
func (c *checker) commitsLost() bool {
	for _, a := range c.book.Actions {
		if a.What == journal.Lost {
			return true
		}
	}
	return false
}
