package relay

import (
	"testing"
	"time"
)

// every is a schedule without a calendar.
type every time.Duration

func (e every) Next(now time.Time) time.Time { return now.Add(time.Duration(e)) }

// A take-over finds what has piled up: that goes first, and the audit, which reads the whole ring, when it is read.
func TestJanitor_LetsANewLeaderCatchUpBeforeItAudits(t *testing.T) {
	const audited = "select count(*) from outbox.slots where audited_at is not null"
	backlog := func(t *testing.T, audit time.Duration) (*rig, *running, *manuals) {
		r := newRig(t, map[string]int32{"unused": 1})
		r.showOnFailure()
		r.exec("insert into outbox.events (topic, payload) select 't', '1' from generate_series(1, $1::int)", usualRows+1)
		f := &manuals{}
		o := f.onto(r.options())
		o.Keep = &Keeping{Events: time.Hour, Inbox: time.Hour, EmptyAt: every(time.Hour), AuditAt: every(audit)}
		w := r.start(o)
		f.nth(t, 0, usualRows)
		return r, w, f
	}
	t.Run("nothing is due", func(t *testing.T) {
		r, w, f := backlog(t, time.Hour)
		for until := time.Now().Add(time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
			if queryRow[int](r, audited) > 0 {
				t.Fatal("the books were audited while events waited to be read")
			}
		}
		f.nth(t, 0, usualRows).ackAll()
		f.nth(t, 0, usualRows+1).ackAll()
		eventually(t, "the books are audited", 10*time.Second, func() bool { return queryRow[int](r, audited) > 0 })
		w.halt(t)
	})
	t.Run("an audit is due", func(t *testing.T) {
		r, w, _ := backlog(t, 100*time.Millisecond)
		eventually(t, "the books are audited", 10*time.Second, func() bool { return queryRow[int](r, audited) > 0 })
		if in := w.State().Report().InFlight; in != usualRows {
			t.Fatalf("%d events are in flight, so this was not amid a backlog", in)
		}
		w.kill()
	})
}
