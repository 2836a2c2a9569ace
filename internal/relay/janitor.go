package relay

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/store"
)

// Schedule says when a thing is to be done next: cron.Schedule.
type Schedule interface{ Next(time.Time) time.Time }

// Keeping says how long things are kept, and when the janitor works.
type Keeping struct {
	Events  time.Duration // delivered ones, in the ring
	Inbox   time.Duration // what consumers have noted
	EmptyAt Schedule
	AuditAt Schedule
}

// keeping is what the janitor tells about itself. Atomic: the HTTP server reads it at any time.
type keeping struct {
	difference atomic.Int64 // events by which books and table differ
}

const (
	// inboxBatches bounds what one round deletes of the inbox.
	inboxBatches = 20
	// janitorPatience bounds one round: an audit reads the whole ring.
	janitorPatience = 30 * time.Minute
)

// janitor empties slots of the ring, audits the books and prunes, by schedule, while this replica leads. What it does is
// safe beside another janitor, so it needs no fence: a slot is emptied only by proof, under a lock.
type janitor struct {
	*Options
	state    *State
	caughtUp <-chan struct{} // closed when the term has first read all there was
	// period is the ring's, so that a change is told once; kept is the last reason for each slot that a person may have to
	// deal with.
	period time.Duration
	kept   map[int16]string
	away   *outage
}

func newJanitor(o *Options, state *State, caughtUp <-chan struct{}) *janitor {
	return &janitor{Options: o, state: state, caughtUp: caughtUp, kept: map[int16]string{}, away: newOutage(o.Log, "the janitor's work", new(atomic.Bool))}
}

// tidy runs the janitor beside a term's sessions. The channel closes when it has ended.
func (r *Relay) tidy(ctx context.Context, caughtUp <-chan struct{}) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if r.Keep != nil {
			newJanitor(&r.Options, r.state, caughtUp).run(ctx)
		}
	}()
	return ended
}

// run works until ctx ends. What fails is tried again at the next time: delivery does not depend on it. A new leader
// knows nothing of the books, so it audits before its schedule says so; but first it delivers what has piled up, since an
// audit reads every row of the ring, on the same cores.
func (j *janitor) run(ctx context.Context) {
	caughtUp := j.caughtUp
	for ctx.Err() == nil {
		now := time.Now()
		empty, audit := nextTime(j.Keep.EmptyAt, now), nextTime(j.Keep.AuditAt, now)
		next := empty
		if audit.Before(empty) {
			next = audit
		}
		due := time.NewTimer(time.Until(next))
		select {
		case <-due.C:
			j.round(ctx, !empty.After(next), !audit.After(next))
		case <-caughtUp:
			caughtUp = nil
			j.round(ctx, true, true)
		case <-ctx.Done():
		}
		due.Stop()
	}
}

// nextTime is a schedule's next, far away for one that never comes: cron says zero of that, which is before everything.
func nextTime(s Schedule, now time.Time) time.Time {
	if next := s.Next(now); next.After(now) {
		return next
	}
	return now.Add(365 * 24 * time.Hour)
}

// round does what is due, on a connection of its own that ends with it.
func (j *janitor) round(ctx context.Context, empty, audit bool) {
	ctx, cancel := context.WithTimeout(ctx, janitorPatience)
	defer cancel()
	err := j.work(ctx, empty, audit)
	switch {
	case err == nil:
		j.away.over()
	case ctx.Err() == nil:
		j.away.is(err)
	}
}

func (j *janitor) work(ctx context.Context, empty, audit bool) error {
	conn, err := store.Connect(ctx, j.Postgres, "relay "+j.Name+" janitor")
	if err != nil {
		return err
	}
	auditor, err := store.NewAuditor(ctx, conn, store.In(j.Schema))
	if err != nil {
		_ = conn.Close(ctx)
		return err
	}
	defer auditor.Close()
	if audit {
		if err := j.audit(ctx, auditor); err != nil {
			return err
		}
	}
	if !empty {
		return nil
	}
	if err := j.fit(ctx, auditor); err != nil {
		return err
	}
	if err := j.empty(ctx, auditor); err != nil {
		return err
	}
	if n, err := auditor.PruneInbox(ctx, j.Keep.Inbox, inboxBatches); err != nil {
		return err
	} else if n > 0 {
		j.Log.Debug("inbox pruned", "events", n)
	}
	_, err = auditor.PruneOperations(ctx)
	return err
}

// audit compares the books with the table, and says what differs to everybody who looks.
func (j *janitor) audit(ctx context.Context, auditor *store.Auditor) error {
	found, err := auditor.Audit(ctx, j.Name)
	if err != nil {
		return err
	}
	events := int64(0)
	for i := range found {
		events += found[i].Events
		j.differs(&found[i])
	}
	if was := j.state.keeping.difference.Swap(events); was > 0 && events == 0 {
		j.Log.Info("the books balance again")
	}
	return auditor.Record(ctx, j.Name, found)
}

func (j *janitor) differs(d *store.Difference) {
	j.Log.Error("the books do not balance, nothing of the slot is discarded: see relay audit, and relay audit --repair",
		"slot", d.Slot, "from_seq", d.FromSeq, "to_seq", d.ToSeq, "missing", d.Missing, "extra", d.Extra, "altered", d.Altered)
}

// fit lets the ring's period follow retention.keep.
func (j *janitor) fit(ctx context.Context, auditor *store.Auditor) error {
	period, err := auditor.FitRing(ctx, j.Name, j.Keep.Events)
	if err != nil {
		return err
	}
	if period != j.period {
		j.Log.Info("ring", "slots", store.RingSlots, "period", period, "keep", j.Keep.Events)
		j.period = period
	}
	return nil
}

func (j *janitor) empty(ctx context.Context, auditor *store.Auditor) error {
	differs := false
	for slot := range int16(store.RingSlots) {
		e, err := auditor.Empty(ctx, slot, j.Keep.Events)
		if err != nil {
			return err
		}
		differs = differs || e.Difference != nil
		if e.Kept == store.KeptEmpty && e.Rows > 0 {
			j.Log.Info("slot emptied", "slot", slot, "events", e.Rows)
		}
		if e.Kept == store.KeptPending && e.Holds != j.Name && j.kept[slot] != e.Holds {
			j.Log.Warn("a slot is kept for another relay name: run that relay, or delete its row from relays", "slot", slot, "name", e.Holds)
		}
		j.kept[slot] = e.Holds
	}
	if differs { // found before its time
		return j.audit(ctx, auditor)
	}
	return nil
}
