package relay

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// open begins a transaction of an operator's, who does something and then looks at it for a while.
func (r *rig) open(sql string) pgx.Tx {
	r.t.Helper()
	tx, err := r.connect().Begin(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := tx.Exec(r.t.Context(), sql); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	return tx
}

// What an open transaction has can be sent, but not deleted: it was sent again every few seconds.
func TestTaken_WhatAnOperatorIsAtWaitsAndNothingOfItsKeyPassesIt(t *testing.T) {
	for mode, exactly := range map[string]bool{"at_least_once": false, "exactly_once": true} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, map[string]int32{"t": 1, progressTopic: 1})
			r.showOnFailure()
			o := r.options()
			if exactly {
				o = r.exactly()
			}
			w := r.start(o)
			r.exec(`insert into outbox.events (topic, key, payload) values ('late', 'a', '1'), ('late', 'a', '2'), ('late', 'b', '3');
				insert into outbox.events (topic, key, payload, deliver_at) values ('t', 'c', '4', now() + interval '2 seconds'),
				('t', 'd', '5', now() + interval '2 seconds')`)
			r.settled(10 * time.Second)
			tx := r.open("select outbox.parked_drop(array(select id from outbox.parked where payload::text in ('1', '4')))")
			r.createTopic("late", 1, nil)
			eventually(t, "what nobody has goes", 10*time.Second, func() bool {
				return values(r.committed("late")) == "3" && values(r.committed("t")) == "5"
			})
			eventually(t, "the log says who has them", takenPatience+10*time.Second, func() bool {
				return strings.Contains(r.log.String(), "an open transaction has parked events") && strings.Contains(r.log.String(), "role postgres")
			})
			for until := time.Now().Add(time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
				if got := values(r.committed("late")) + values(r.committed("t")); strings.ContainsAny(got, "124") {
					t.Fatalf("amid the operator's transaction %s went", got)
				}
			}
			if err := tx.Rollback(t.Context()); err != nil { // better not
				t.Fatal(err)
			}
			eventually(t, "all goes", 10*time.Second, func() bool {
				return r.parkedNow() == "" && strings.Contains(r.log.String(), "no open transaction has parked events any more")
			})
			w.halt(t)
			if got := values(r.committed("late")) + ", " + values(r.committed("t")); got != "3 1 2, 5 4" {
				t.Errorf("delivered %s", got)
			}
			if ends := w.State().Report().SessionEnds["postgres"]; ends > 0 {
				t.Errorf("%d sessions ended", ends)
			}
		})
	}
}

// Two replays of one event to a topic that is not there were two rows that could not be held both, and no session lived
// longer than the runner took to find that out.
func TestParked_ReplaysThatMeetAreBothDelivered(t *testing.T) {
	r := newRig(t, map[string]int32{"t": 1})
	r.showOnFailure()
	w := r.start(r.options())
	r.exec(`insert into outbox.events (topic, key, payload) values ('t', 'a', '1')`)
	r.settled(10 * time.Second)
	again := `insert into outbox.parked (name, seq, state, id, topic, key, payload, created_at)
		select 'main', seq, 'replay', id, 'missing', key, payload, created_at from outbox.events where payload::text = '1'`
	r.exec(again + "; " + again + "; " + again)
	eventually(t, "each was tried", 10*time.Second, func() bool {
		return queryRow[int](r, "select count(*) from outbox.parked where attempts > 0") == 3
	})
	if got := queryRow[string](r, "select string_agg(state, ' ' order by state) from outbox.parked"); got != "held replay replay" {
		t.Errorf("parked: %s", got)
	}
	r.exec(`insert into outbox.events (topic, key, payload) values ('t', 'a', '2')`)
	r.settled(10 * time.Second)
	r.createTopic("missing", 1, nil)
	eventually(t, "the first is released", 10*time.Second, func() bool { return queryRow[int](r, "select count(*) from outbox.parked") == 2 })
	r.exec("update outbox.parked set due_at = now()")
	eventually(t, "the others are published", 10*time.Second, func() bool { return queryRow[int](r, "select count(*) from outbox.parked") == 0 })
	w.halt(t)
	if got := values(r.read("t")) + ", " + values(r.read("missing")); got != "1 2, 1 1 1" {
		t.Errorf("delivered %s", got)
	}
	if ends := w.State().Report().SessionEnds["postgres"]; ends > 0 {
		t.Errorf("%d sessions ended", ends)
	}
}

// The server's clock was an hour ahead when an event was parked, and is not any more.
func TestParked_AClockThatIsSetBackKeepsTheOrder(t *testing.T) {
	for _, state := range []string{Held, Behind, Dead} {
		t.Run(state, func(t *testing.T) {
			r := newRig(t, map[string]int32{"unused": 1})
			r.showOnFailure()
			w := r.start(r.options())
			r.exec(`insert into outbox.events (topic, key, payload) values ('late', 'a', '1')`)
			r.settled(10 * time.Second)
			w.halt(t)
			r.exec("update outbox.parked set due_at = now() + interval '1 hour', state = $1", state)
			r.exec(`insert into outbox.parked (name, seq, state, due_at, id, topic, created_at)
				values ('main', 99, $1, 'infinity', gen_random_uuid(), 'another', now())`, state)
			w = r.start(r.options())
			for _, payload := range []string{"2", "3"} { // settled one after the other
				r.exec(`insert into outbox.events (topic, key, payload) values ('late', 'a', $1::text::json)`, payload)
				r.settled(10 * time.Second)
			}
			if got := queryRow[string](r, "select string_agg(payload::text, ' ' order by due_at, seq) from outbox.parked where topic = 'late'"); got != "1 2 3" {
				t.Errorf("in the order of release: %s", got)
			}
			w.halt(t)
		})
	}
}

// One statement that parks gigabytes does not answer in time, and the next session tries the same.
func TestParked_LargeEventsAreParkedInSeveralSteps(t *testing.T) {
	r := newRig(t, map[string]int32{progressTopic: 1})
	r.showOnFailure()
	r.exec(`insert into outbox.events (topic, key, payload) select 'missing', 'a', to_json(repeat('x', 900000)) from generate_series(1, 80)`)
	w := r.start(r.exactly())
	r.settled(30 * time.Second)
	w.halt(t)
	most := queryRow[int](r, "select max(n) from (select count(*) n from outbox.parked group by parked_at) one")
	if limit := parkedASettle*parkedBytes/900_000 + batchBytes/900_000 + 1; most > limit {
		t.Errorf("%d events of 900 kB were parked in one statement, want at most %d", most, limit)
	}
}

func TestParked_DeadLettersThatAreLargeGoInSeveralShipments(t *testing.T) {
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	f := &manuals{}
	o := f.onto(r.options())
	o.DeadLetterTopic = "letters"
	r.exec(`insert into outbox.parked (name, seq, state, id, topic, payload, created_at)
		select 'main', n, 'dead', gen_random_uuid(), 't', to_json(n || repeat('x', 900000)), now() from generate_series(1, 40) n`)
	w := r.start(o)
	const most = shipmentBytes/900_000 + 1
	for done := most; done <= 40; done += most {
		m := f.nth(t, 1, done) // the first is the hot path's
		for until := time.Now().Add(200 * time.Millisecond); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
			if n := len(m.values()); n > done {
				t.Fatalf("%d letters are sent, at most %d should be unacked", n, most)
			}
		}
		m.ack(0, done)
	}
	eventually(t, "all are noted", 10*time.Second, func() bool {
		return queryRow[int](r, "select count(*) from outbox.parked where lettered_at is null") == 0
	})
	w.halt(t)
}

// never is what cron says of a day that does not come.
type never struct{ asked chan struct{} }

func (n never) Next(time.Time) time.Time {
	select {
	case n.asked <- struct{}{}:
	default:
	}
	return time.Time{}
}

func TestJanitor_DoesNotRunAllTheTimeForADayThatNeverComes(t *testing.T) {
	r := newRig(t, map[string]int32{"unused": 1})
	o := r.options()
	n := never{asked: make(chan struct{}, 100)}
	o.Keep = &Keeping{Events: time.Hour, Inbox: time.Hour, EmptyAt: n, AuditAt: n}
	caughtUp := make(chan struct{})
	close(caughtUp)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	newJanitor(&o, newState(), caughtUp).run(ctx)
	if asked := len(n.asked); asked > 4 { // before the first round and after it, of both
		t.Errorf("the schedules were asked %d times in a second", asked)
	}
}
