package relay

import (
	"testing"
	"time"
)

// A client holds records back until it is asked to send them. Each way to wait for an ack has to ask.
func TestFlush_WhoWaitsForAcksAsksForThem(t *testing.T) {
	for name, insert := range map[string]string{
		"the end of what there is": `select 't', 'k', to_json(n), null::timestamptz from generate_series(1, 3) n`,
		"no room for more":         `select 't', 'k', to_json(n), null::timestamptz from generate_series(1, 3000) n`,
		"the parked runner":        `select 't', 'k', to_json(n), now() + interval '700 ms' from generate_series(1, 3) n`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, map[string]int32{"unused": 1})
			o := r.options()
			o.MaxInFlight = 64 << 10
			f := &manuals{shy: true}
			w := r.start(f.onto(o))
			f.nth(t, 0, 0)
			r.exec(`insert into outbox.events (topic, key, payload, deliver_at) ` + insert)
			all := queryRow[int64](r, "select count(*) from outbox.events")
			eventually(t, "all are delivered, and none is parked", 20*time.Second, func() bool {
				return r.delivered() == all && queryRow[int64](r, "select count(*) from outbox.parked") == 0
			})
			w.halt(t)
		})
	}
}
