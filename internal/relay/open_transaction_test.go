package relay

import (
	"testing"
	"time"
)

// One transaction of many events is written while the relay rests. While they are delivered the cursor's row has a floor
// that moves with them, so that whoever asks what is pending does not scan what is delivered.
func TestFeed_HasAFloorInATransactionWrittenWhileItRested(t *testing.T) {
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	o := r.options()
	o.LeaseTTL, o.PollMost = 4*time.Second, 50*time.Millisecond
	f := &manuals{}
	w := r.start(f.onto(o))
	eventually(t, "the session began", 20*time.Second, func() bool {
		return queryRow[int](r, "select count(*) from outbox.relays where session > 0") == 1
	})
	writer := r.connect()
	if _, err := writer.Exec(t.Context(), "begin; insert into outbox.events (topic, payload) select 't', '1' from generate_series(1, 6000)"); err != nil {
		t.Fatal(err)
	}
	written := queryRow[time.Time](r, "select clock_timestamp()")
	eventually(t, "an anchor is taken", 20*time.Second, func() bool {
		return queryRow[int](r, `select count(*) from pg_stat_activity where datname = current_database() and application_name like 'relay % reader'
			and query like '%pg_current_xact_id%' and query_start > $1`, written) > 0
	})
	if _, err := writer.Exec(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	f.nth(t, 0, 6000).ack(0, 2500)
	eventually(t, "two batches are settled", 20*time.Second, func() bool {
		return queryRow[int](r, "select after_seq from outbox.relays") == 2000
	})
	if floor := queryRow[int](r, "select floor_seq from outbox.relays"); floor != 2000 {
		t.Errorf("the floor is %d behind event 2000", floor)
	}
	f.nth(t, 0, 6000).ack(0, 6000)
	r.settled(20 * time.Second)
	w.halt(t)
}
