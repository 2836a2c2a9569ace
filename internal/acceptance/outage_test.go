//go:build linux

package acceptance

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
)

// drainWithin is how long what has piled up may take after the server is back.
const drainWithin = 60 * time.Second

// RELAY_TEST_LONG=1 leaves Kafka away for two minutes instead of fifty seconds.
func TestOutages_KafkaAwayAndPostgresRestarted(t *testing.T) {
	binary := setUp(t)
	t.Parallel()
	away := 50 * time.Second
	if os.Getenv("RELAY_TEST_LONG") != "" {
		away = 2 * time.Minute
	}
	cluster := must(kafka.Start(context.Background(), kafka.Options{}))(t)
	t.Cleanup(cluster.Stop)
	s := newSite(t, cluster, nil)
	d := s.relay(binary)
	d.saysSoon("session began", 20*time.Second)
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	// 500 events a second, for as long as the test takes.
	c := &crowd{site: s, topic: s.topic, clients: 4, keysEach: 50, least: 10, most: 10, events: 1 << 40,
		pause: 80 * time.Millisecond, through: true}
	end := c.start(ctx)
	eventually(t, "a thousand events are in Kafka", 30*time.Second, func() bool { return s.stored(s.topic) > 1000 })

	killed := time.Now()
	cluster.KillNode(0)
	samples := residentDuring(d, killed.Add(away))
	t.Logf("resident while Kafka is away, MiB each 10 s: %s", strings.Trim(fmt.Sprintf("%.0f", samples), "[]"))
	// The first samples are taken before the records in flight have timed out and their session has ended.
	if first, last := samples[3], samples[len(samples)-1]; last > first+8 {
		t.Errorf("the relay grew from %.0f to %.0f MiB while Kafka was away", first, last)
	}
	if err := cluster.StartNode(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	caughtUp(s, d, fmt.Sprintf("Kafka was away for %v", away))
	outageIsTold(d, "Kafka", killed)

	for _, mode := range []string{"fast", "immediate"} {
		restarted := time.Now()
		if err := s.pg.Restart(context.Background(), mode); err != nil {
			t.Fatal(err)
		}
		caughtUp(s, d, "PostgreSQL was restarted ("+mode+")")
		outageIsTold(d, "PostgreSQL", restarted)
	}
	killed = time.Now()
	s.pg.Kill() // for longer than the lease lasts
	time.Sleep(20 * time.Second)
	d.runs()
	if err := s.pg.StartAgain(context.Background()); err != nil {
		t.Fatal(err)
	}
	caughtUp(s, d, "PostgreSQL was killed, and away for 20 s")
	outageIsTold(d, "PostgreSQL", killed)

	enough()
	committed := end()
	s.settled(d, sum(committed), drainWithin)
	d.stop(10 * time.Second)
	d.showLog("the log")
	t.Logf("%d events were committed, %d copies", sum(committed), s.arrived(t, s.topic, committed))
}

// residentDuring samples a process's memory each ten seconds.
func residentDuring(d *daemon, until time.Time) (samples []float64) {
	d.t.Helper()
	for next := time.Now(); next.Before(until); next = next.Add(10 * time.Second) {
		time.Sleep(time.Until(next))
		d.runs()
		samples = append(samples, memory(d.t, d.PID(), "VmRSS"))
	}
	time.Sleep(time.Until(until))
	return samples
}

// caughtUp waits until what was committed before, and a second's load after that, is settled: the outage is over.
func caughtUp(s *site, d *daemon, why string) {
	s.t.Helper()
	began := time.Now()
	behind := s.ask("select coalesce(sum(pending), 0)::bigint from outbox.lag")
	there := s.ask("select count(*) from outbox.events") + 500
	eventually(s.t, "the relay has caught up: "+why, drainWithin, func() bool {
		d.runs()
		return s.ask("select coalesce(sum(delivered), 0)::bigint from outbox.relays") >= there
	})
	s.t.Logf("%s: %d events were pending, settled %.1f s after it was back", why, behind, time.Since(began).Seconds())
}

// outageIsTold wants that the log tells an outage once: a session ends, at most one line says what is away and one that
// it is back, and a session begins. What Kafka's client says besides comes at its begin: no line comes with each try.
func outageIsTold(d *daemon, what string, since time.Time) {
	d.t.Helper()
	since = since.Truncate(time.Millisecond) // as the log has it
	count := map[string]int{}
	var late []string
	for _, l := range d.lines() {
		if l.Time.Before(since) {
			continue
		}
		count[l.Message]++
		if l.Level != "info" && l.Time.After(since.Add(30*time.Second)) && count["session began"] == 0 &&
			count[what+" is available again"] == 0 {
			late = append(late, l.text)
		}
	}
	began, over := count[what+" is not available, waiting"], count[what+" is available again"]
	if count["session ended"] != 1 || count["session began"] != 1 || began > 1 || began != over {
		d.t.Errorf("%s: %d sessions ended and %d began, %d lines say that it is away and %d that it is back; want one each",
			what, count["session ended"], count["session began"], began, over)
	}
	if len(late) > 0 {
		d.t.Errorf("%s: warnings long after the outage began, and before its end:\n%s", what, strings.Join(late, "\n"))
	}
}
