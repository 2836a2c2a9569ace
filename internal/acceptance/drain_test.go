//go:build linux

package acceptance

import (
	"testing"
	"time"
)

// The table of what comparable relays need, and what the parts of this one could do, is in the design notes: 42 to 70 µs
// of relay an event for one that reads the WAL by Java, 13 µs for one in Go, 6 to 11 µs for the prototype of this one.
const mostDrain = 40 // µs of the relay's CPU an event: a change that doubles the cost is seen, a busy machine is not

func TestDrain_OfABacklog(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	db := s.connect()
	const rows = 500_000
	backlog := func(from int) {
		_, err := db.Exec(t.Context(), `insert into outbox.events (topic, key, type, payload)
			select $1, 'customer-' || i % 10000, 'OrderPlaced', json_build_object('order', i, 'text', repeat('x', 270))
			  from generate_series($2::int + 1, $2::int + $3::int) i`, s.topic, from, rows)
		if err != nil {
			t.Fatal(err)
		}
		// The hint bits and the checkpoint of the writers' work are not the relay's.
		for _, after := range []string{"vacuum analyze outbox.events", "checkpoint"} {
			if _, err := db.Exec(t.Context(), after); err != nil {
				t.Fatal(err)
			}
		}
	}
	for run := range 2 { // the first warms the broker
		backlog(run * rows)
		d := s.relay(binary)
		d.saysSoon("session began", 20*time.Second)
		began := time.Now()
		relay, server, broker := cpu(d.PID()), cpuWithChildren(s.pg.PID()), cpuOfBrokers()
		s.settled(d, int64((run+1)*rows), 2*time.Minute)
		took := time.Since(began)
		each := func(used time.Duration) float64 { return float64(used.Nanoseconds()) / 1000 / rows }
		relayEach := each(cpu(d.PID()) - relay)
		t.Logf("%s; CPU µs an event: relay %.1f + PostgreSQL %.1f + broker %.1f; at most %.0f MiB resident", rate(rows, took),
			relayEach, each(cpuWithChildren(s.pg.PID())-server), each(cpuOfBrokers()-broker), memory(t, d.PID(), "VmHWM"))
		if run > 0 && relayEach > mostDrain {
			t.Errorf("the relay used %.1f µs of CPU an event, want under %d", relayEach, mostDrain)
		}
		d.stop(10 * time.Second)
	}
	if n := s.stored(s.topic); n != 2*rows {
		t.Errorf("%d records of %d events", n, 2*rows)
	}
}
