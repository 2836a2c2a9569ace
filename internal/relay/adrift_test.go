package relay

import (
	"testing"
	"time"
)

// free says whether a follower could lead now.
func (r *rig) free() bool {
	return queryRow[bool](r, "select holder is null or expires_at < clock_timestamp() from outbox.relays")
}

// A record that was sent and has no answer may still be stored: a successor that began at once could have its own
// records in front of it.
func TestRelay_LeavesTheLeaseToExpireWhenRecordsHaveNoAnswer(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *running){
		"cut":           func(_ *testing.T, w *running) { w.kill() },
		"drain timeout": func(t *testing.T, w *running) { w.halt(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, map[string]int32{"unused": 1})
			r.showOnFailure()
			f := &manuals{}
			r.exec("insert into outbox.events (topic, payload) values ('t', '1'), ('t', '2')")
			o := f.onto(r.options())
			o.LeaseTTL, o.DrainTimeout = 3*time.Second, 200*time.Millisecond
			w := r.start(o)
			m := f.nth(t, 0, 2)
			m.ack(0, 1) // and the second one never
			end(t, w)
			if r.free() {
				t.Error("the lease is free although a record has no answer")
			}
			began := time.Now()
			r.start(f.onto(r.options()))
			f.nth(t, 1, 1)
			t.Logf("the next one sent after %.1f s", time.Since(began).Seconds())
		})
	}
}

func TestRelay_GivesTheLeaseUpWhenCutWithNothingUnderWay(t *testing.T) {
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	f := &manuals{auto: true}
	r.exec("insert into outbox.events (topic, payload) values ('t', '1')")
	w := r.start(f.onto(r.options()))
	r.settled(10 * time.Second)
	w.kill()
	if !r.free() {
		t.Error("the lease was kept with nothing under way")
	}
}

// What a session has left without an answer, the next one has sent again before it ends in good order. A successor has
// nothing of it to send.
func TestRelay_GivesTheLeaseUpWhenALaterSessionEndedWell(t *testing.T) {
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	f := &manuals{}
	r.exec("insert into outbox.events (topic, payload) values ('t', '1')")
	w := r.start(f.onto(r.options()))
	f.nth(t, 0, 1).reject(0, errManual)
	f.nth(t, 1, 1).ack(0, 1)
	r.settled(10 * time.Second)
	w.halt(t)
	if !r.free() {
		t.Error("the lease was kept although all that was sent has an answer")
	}
}
