package check

import (
	"cmp"
	"slices"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

// transaction is one transaction of a writer.
type transaction struct {
	id        string
	kind      string
	end       string // as the writer knows it
	endAt     int64
	witnessed bool // PostgreSQL holds it in the end
	events    []journal.Event
}

// fate is an event with what became of it.
type fate struct {
	journal.Event
	tx   *transaction
	read []*journal.Record // in the order of the fresh reader
}

// committed says that the event has to be delivered.
func (f *fate) committed() bool { return f.tx.witnessed && !f.Void }

// index finds transactions and events.
type index struct {
	transactions []*transaction // in the order of their intents
	byTx         map[string]*transaction
	events       []*fate // in the order of their intents
	byID         map[string]*fate
	strangers    []*journal.Record // read, and written by nobody
}

func newIndex(b *Book) *index {
	x := &index{byTx: map[string]*transaction{}, byID: map[string]*fate{}}
	for i := range b.Ledger {
		x.note(&b.Ledger[i])
	}
	for _, w := range b.Witness {
		if t := x.byTx[w.Tx]; t != nil {
			t.witnessed = true
		}
	}
	for i := range b.Fresh {
		r := &b.Fresh[i]
		if r.Mark != "" || r.Topic == b.Run.Progress {
			continue
		}
		if f := x.byID[r.ID]; f != nil {
			f.read = append(f.read, r)
		} else {
			x.strangers = append(x.strangers, r)
		}
	}
	return x
}

func (x *index) note(l *journal.Ledger) {
	t := x.byTx[l.Tx]
	if t == nil {
		t = &transaction{id: l.Tx}
		x.byTx[l.Tx] = t
		x.transactions = append(x.transactions, t)
	}
	switch l.What {
	case journal.Intent:
		t.kind, t.events = l.Kind, l.Events
		for _, e := range l.Events {
			f := &fate{Event: e, tx: t}
			x.events = append(x.events, f)
			x.byID[e.ID] = f
		}
	case journal.Outcome, journal.Resolved:
		t.end, t.endAt = l.End, l.At
	}
}

// copied is one more occurrence of an event.
type copied struct {
	event  *fate
	record *journal.Record
}

// copies are all occurrences but the first, in the order of their own timestamps. Those of an event without a key may
// lie in several partitions, which a reader has in any order: the first is the one that was sent first.
func (x *index) copies() (all []copied) {
	for _, f := range x.events {
		if len(f.read) < 2 {
			continue
		}
		sent := slices.Clone(f.read)
		slices.SortStableFunc(sent, func(a, b *journal.Record) int { return cmp.Compare(a.Stamp, b.Stamp) })
		for _, r := range sent[1:] {
			all = append(all, copied{event: f, record: r})
		}
	}
	slices.SortFunc(all, func(a, b copied) int { return cmp.Compare(a.record.Stamp, b.record.Stamp) })
	return all
}
