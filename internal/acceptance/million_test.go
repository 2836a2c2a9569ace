//go:build linux

package acceptance

import (
	"testing"
	"time"
)

func TestMillion_EachOnceByteExactInOrder(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	d := s.relay(binary)
	d.saysSoon("session began", 20*time.Second)
	before := cpu(d.PID())

	began := time.Now()
	c := &crowd{site: s, topic: s.topic, clients: 16, keysEach: 50, least: 50, most: 200, events: 1_000_000}
	committed := c.run(t.Context())
	written := time.Since(began)
	if n := sum(committed); n != c.events {
		t.Fatalf("%d events were committed, want %d", n, c.events)
	}
	s.settled(d, c.events, 2*time.Minute)
	delivered := time.Since(began)
	t.Logf("written by 16 clients: %s; the last was settled %.2f s after the last commit",
		rate(c.events, written), (delivered - written).Seconds())
	t.Logf("relay: %.1f µs of CPU an event, at most %.0f MiB resident",
		float64((cpu(d.PID())-before).Microseconds())/float64(c.events), memory(t, d.PID(), "VmHWM"))
	d.stop(10 * time.Second)
	d.showLog("the log")
	if copies := s.arrived(t, s.topic, committed); copies != 0 {
		t.Errorf("%d copies, and nothing had failed", copies)
	}
}

// What a killed relay may send a second time is what was in flight (6,000 rows) and what was acked and not settled: a
// settle each 50 ms, and the time one takes.
const mostCopies = 6000 + 20_000

func TestKill_NoneLostAndCopiesAtMostWhatWasInFlight(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	first := s.relay(binary)
	first.saysSoon("session began", 20*time.Second)
	c := &crowd{site: s, topic: s.topic, clients: 16, keysEach: 50, least: 50, most: 200, events: 300_000}
	end := c.start(t.Context())
	eventually(t, "a third of the events is in Kafka", time.Minute, func() bool { return s.stored(s.topic) > c.events/3 })

	killed := time.Now()
	first.Kill()
	second := s.relay(binary)
	leads := second.saysSoon("leading", 30*time.Second).Time.Sub(killed)
	committed := end()
	s.settled(second, c.events, time.Minute)
	t.Logf("took over %.1f s after the kill; all settled %.1f s after the kill", leads.Seconds(), time.Since(killed).Seconds())
	if most := 15*time.Second + 2*time.Second; leads > most {
		t.Errorf("took over after %v, want at most the lease's ttl and 2 s", leads)
	}
	second.stop(10 * time.Second)
	second.showLog("the log of the second")
	copies := s.arrived(t, s.topic, committed)
	t.Logf("%d copies", copies)
	if copies > mostCopies {
		t.Errorf("%d copies, want at most %d", copies, mostCopies)
	}
}
