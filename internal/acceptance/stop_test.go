//go:build linux

package acceptance

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
)

func TestStop_HandsOverAtOnceWithoutACopy(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	first := s.relay(binary)
	first.saysSoon("session began", 20*time.Second)
	second := s.relay(binary)
	second.saysSoon("following", 20*time.Second)
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	c := &crowd{site: s, topic: s.topic, clients: 8, keysEach: 50, least: 20, most: 50, events: 1 << 40, pause: 100 * time.Millisecond}
	end := c.start(ctx)
	eventually(t, "ten thousand events are in Kafka", 30*time.Second, func() bool { return s.stored(s.topic) > 10_000 })

	asked := time.Now()
	first.stop(20 * time.Second)
	stopped := time.Now()
	leads := second.saysSoon("leading", 10*time.Second)
	delivers := second.saysSoon("session began", 10*time.Second)
	t.Logf("stopped %.2f s after SIGTERM; the follower led %.2f s and read %.2f s after that",
		stopped.Sub(asked).Seconds(), leads.Time.Sub(stopped).Seconds(), delivers.Time.Sub(stopped).Seconds())
	if took := leads.Time.Sub(stopped); took > time.Second {
		t.Errorf("the follower led %v after the leader had stopped, want 1 s", took)
	}
	first.showLog("the log of the first")

	// And once more, without a follower: the next one starts where the last one has stopped.
	before := s.stored(s.topic)
	eventually(t, "the follower delivers", 30*time.Second, func() bool { return s.stored(s.topic) > before+5000 })
	second.stop(20 * time.Second)
	third := s.relay(binary)
	third.saysSoon("session began", 20*time.Second)
	enough()
	committed := end()
	s.settled(third, sum(committed), time.Minute)
	third.stop(20 * time.Second)
	if copies := s.arrived(t, s.topic, committed); copies != 0 {
		t.Errorf("%d copies after clean stops, want none", copies)
	}
}

func TestStop_SecondSignalCuts(t *testing.T) {
	binary := setUp(t)
	cluster := must(kafka.Start(context.Background(), kafka.Options{}))(t)
	t.Cleanup(cluster.Stop)
	s := newSite(t, cluster, nil)
	first := s.relay(binary)
	first.saysSoon("session began", 20*time.Second)
	c := &crowd{site: s, topic: s.topic, clients: 4, keysEach: 50, least: 20, most: 50, events: 20_000}
	end := c.start(t.Context())
	eventually(t, "events are in Kafka", 30*time.Second, func() bool { return s.stored(s.topic) > 1000 })

	cluster.FreezeNode(0) // what is in flight is never acked: draining takes as long as it may
	first.Signal(syscall.SIGTERM)
	first.saysSoon("draining, a second signal cuts", 5*time.Second)
	// It is draining indeed.
	time.Sleep(2 * time.Second)
	first.runs()
	cut := time.Now()
	first.Signal(syscall.SIGTERM)
	code := first.ends(10 * time.Second)
	t.Logf("exit %d, %.2f s after the second SIGTERM", code, time.Since(cut).Seconds())
	if took := time.Since(cut); took > 3*time.Second {
		t.Errorf("cutting took %v, want at once", took)
	}
	first.showLog("the log")
	cluster.ThawNode(0)
	committed := end()

	second := s.relay(binary)
	leads := second.saysSoon("leading", 30*time.Second)
	t.Logf("the next one led %.2f s after the cut", leads.Time.Sub(cut).Seconds())
	s.settled(second, sum(committed), time.Minute)
	second.stop(20 * time.Second)
	if copies := s.arrived(t, s.topic, committed); copies > mostCopies {
		t.Errorf("%d copies, want at most %d", copies, mostCopies)
	}
}
