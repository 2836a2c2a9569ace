//go:build linux

package acceptance

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// exactly is the environment of a relay with delivery exactly_once. Sites share a Kafka, so each has an id of its own.
func (s *site) exactly(env ...string) []string {
	return append([]string{"RELAY_OUTBOX_DELIVERY=exactly_once", "RELAY_KAFKA_TRANSACTIONAL_ID=" + s.topic}, env...)
}

// TestExactly_KeepsMostOfThePace drains the same backlog in both modes, in turns, on one broker. The best turn of each
// counts, and a poor ratio gets more turns: another load on the machine can only slow a turn. The figure itself is the
// benchmark's; this finds the mode that has become slow.
func TestExactly_KeepsMostOfThePace(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	const (
		rows              = 300_000 // fewer would measure how a session begins
		turns, most       = 3, 6
		enough, tooLittle = 0.7, 0.55
	)
	db := s.connect()
	settled := int64(0)
	drain := func(env ...string) time.Duration {
		_, err := db.Exec(t.Context(), `insert into outbox.events (topic, key, type, payload)
			select $1, 'customer-' || i % 10000, 'OrderPlaced', json_build_object('order', i, 'text', repeat('x', 270))
			  from generate_series(1, $2::int) i`, s.topic, rows)
		if err != nil {
			t.Fatal(err)
		}
		for _, after := range []string{"vacuum analyze outbox.events", "checkpoint"} {
			if _, err := db.Exec(t.Context(), after); err != nil {
				t.Fatal(err)
			}
		}
		settled += rows
		d := s.relay(binary, env...)
		began := d.saysSoon("session began", 20*time.Second).Time
		s.settled(d, settled, 2*time.Minute)
		took := time.Since(began)
		d.stop(10 * time.Second)
		return took
	}
	drain() // warms the broker
	drain(s.exactly()...)
	var least, exactly []time.Duration
	var ratio float64
	for len(least) < turns || ratio < enough && len(least) < most {
		least = append(least, drain())
		exactly = append(exactly, drain(s.exactly()...))
		ratio = float64(slices.Min(least)) / float64(slices.Min(exactly))
	}
	t.Logf("at_least_once %s (%v), exactly_once %s (%v): %.0f %%",
		rate(rows, slices.Min(least)), least, rate(rows, slices.Min(exactly)), exactly, 100*ratio)
	if ratio < tooLittle {
		t.Errorf("exactly_once keeps %.0f %% of the pace of at_least_once, want %.0f", 100*ratio, 100*tooLittle)
	}
	seen := 0
	s.readBack(s.topic, func(*kgo.Record) { seen++ })
	if seen != int(settled) {
		t.Errorf("%d records of %d events", seen, settled)
	}
}

// TestExactly_KilledAgainAndAgain kills the leader while sixteen clients write, four times.
func TestExactly_KilledAgainAndAgain(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	env := s.exactly("RELAY_LEASE_TTL=3s")
	leader := s.relay(binary, env...)
	leader.saysSoon("session began", 20*time.Second)
	c := &crowd{site: s, topic: s.topic, clients: 16, keysEach: 50, least: 5, most: 100, events: 200_000}
	end := c.start(t.Context())
	for kill := range int64(4) {
		eventually(t, "some more events are in Kafka", time.Minute, func() bool {
			return s.stored(s.topic) > (kill+1)*c.events/6
		})
		killed := time.Now()
		leader.Kill()
		leader = s.relay(binary, env...)
		leader.saysSoon("leading", 30*time.Second)
		began := leader.saysSoon("session began", 30*time.Second).Time
		t.Logf("took over %.2f s after the kill", began.Sub(killed).Seconds())
		if most := 3*time.Second + 4*time.Second; began.Sub(killed) > most {
			t.Errorf("took over %v after the kill, want at most the lease's ttl, 2 s, and 2 s for the predecessor's transaction", began.Sub(killed))
		}
	}
	committed := end()
	s.settled(leader, c.events, time.Minute)
	leader.stop(10 * time.Second)
	leader.showLog("the log of the last")
	if copies := s.arrived(t, s.topic, committed); copies != 0 {
		t.Errorf("%d copies for a read_committed consumer", copies)
	}
}
