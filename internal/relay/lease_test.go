package relay

import (
	"strings"
	"testing"
	"time"
)

// The lease's connection is used each tenth of its ttl. That it was ended meanwhile is no outage: PostgreSQL takes the
// next one at once, and whatever has happened may have been told and be over.
func TestLease_AConnectionThatWasEndedIsNoOutage(t *testing.T) {
	const backend = "select pid from pg_stat_activity where application_name = 'relay main lease' and datname = current_database()"
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	o := r.options()
	o.LeaseTTL = 5 * time.Second
	w := r.start(r.onto(o))
	eventually(t, "a session runs", 10*time.Second, func() bool { return w.State().Report().InSession })

	expires := queryRow[time.Time](r, "select expires_at from outbox.relays")
	r.exec("select pg_terminate_backend(pid) from (" + backend + ") b")
	eventually(t, "the lease is renewed", 10*time.Second, func() bool {
		return queryRow[time.Time](r, "select expires_at from outbox.relays").After(expires)
	})
	eventually(t, "the lease has another connection", 10*time.Second, func() bool {
		return queryRow[int](r, "select count(*) from ("+backend+") b") == 1
	})
	if epoch := queryRow[int64](r, "select epoch from outbox.relays"); epoch != 1 {
		t.Errorf("the epoch is %d: the lease was lost", epoch)
	}
	w.halt(t)
	if strings.Contains(r.log.String(), "PostgreSQL is not available") {
		t.Error("the log tells of an outage")
	}
}
