package relay

import (
	"testing"
	"time"
)

func TestSession_KeepsWithinTheBudget(t *testing.T) {
	t.Run("one copy", func(t *testing.T) { keepsWithinTheBudget(t, 1, 10) })
	t.Run("the client holds two", func(t *testing.T) { keepsWithinTheBudget(t, 2, 5) })
}

// keepsWithinTheBudget has so many events of 100 kB fit into a mebibyte with a client that holds each copies times.
func keepsWithinTheBudget(t *testing.T, copies int64, fit int) {
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	r.exec("insert into outbox.events (topic, payload_bytes) select 't', convert_to(repeat('x', 100000), 'UTF8') from generate_series(1, 100)")
	f := &manuals{}
	o := f.onto(r.options())
	o.MaxInFlight, o.Copies = 1<<20, copies
	w := r.start(o)
	m := f.nth(t, 0, fit)
	for until := time.Now().Add(patience + 500*time.Millisecond); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if got := w.State().Report(); got.InFlight > int64(fit) || got.InFlightBytes*copies > o.MaxInFlight {
			t.Fatalf("%d events with %d bytes are in flight", got.InFlight, got.InFlightBytes)
		}
	}
	// The query was given up after a second: no backend of ours holds a snapshot.
	pinned := queryRow[int](r, `select count(*) from pg_stat_activity where application_name like 'relay %' and state = 'active'
		and datname = current_database()`)
	if pinned > 0 {
		t.Error("a page is still open while nothing may be sent")
	}
	for sent := fit; sent <= 100; sent = len(m.values()) {
		m.ackAll()
		if sent == 100 {
			break
		}
		m = f.nth(t, 0, min(100, sent+1))
	}
	m.ackAll()
	r.settled(10 * time.Second)
	w.halt(t)
}

// Rows have a bound of their own: thousands of small ones are far below the one for bytes.
func TestSession_BoundsTheRowsInFlight(t *testing.T) {
	const more = 700
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	r.exec("insert into outbox.events (topic, payload) select 't', '1' from generate_series(1, $1::int)", usualRows+more)
	f := &manuals{}
	w := r.start(f.onto(r.options()))
	m := f.nth(t, 0, usualRows)
	for until := time.Now().Add(patience + 500*time.Millisecond); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if got := w.State().Report().InFlight; got > usualRows {
			t.Fatalf("%d events are in flight", got)
		}
	}
	m.ackAll()
	m = f.nth(t, 0, usualRows+more)
	m.ackAll()
	r.settled(10 * time.Second)
	w.halt(t)
}
