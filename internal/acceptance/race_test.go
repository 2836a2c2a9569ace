//go:build linux

package acceptance

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
)

// TestRace drives the relay with the race detector in it through what makes its goroutines meet: sessions that end by
// either server, a hand-over, a stop. A race it finds is a line in the log that is not one of the relay's, and exit 66.
func TestRace_NoneThroughFaultsAndStops(t *testing.T) {
	setUp(t)
	binary := must(shared.racy())(t)
	cluster := must(kafka.Start(context.Background(), kafka.Options{}))(t)
	t.Cleanup(cluster.Stop)
	s := newSite(t, cluster, nil)
	first := s.relay(binary)
	first.saysSoon("session began", 30*time.Second)
	second := s.relay(binary)
	second.saysSoon("following", 30*time.Second)
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	c := &crowd{site: s, topic: s.topic, clients: 4, keysEach: 50, least: 10, most: 40, events: 1 << 40,
		pause: 50 * time.Millisecond, through: true}
	end := c.start(ctx)
	more := func() {
		t.Helper()
		now := s.stored(s.topic)
		eventually(t, "events arrive again", time.Minute, func() bool { return s.stored(s.topic) > now+3000 })
	}
	more()
	cluster.KillNode(0)
	if err := cluster.StartNode(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	more()
	if err := s.pg.Restart(context.Background(), "immediate"); err != nil {
		t.Fatal(err)
	}
	more()
	first.Signal(syscall.SIGTERM)
	firstCode := first.ends(30 * time.Second)
	second.saysSoon("leading", 30*time.Second)
	enough()
	committed := end()
	s.settled(second, sum(committed), time.Minute)
	second.Signal(syscall.SIGTERM)
	for who, code := range map[*daemon]int{first: firstCode, second: second.ends(30 * time.Second)} {
		text, _ := os.ReadFile(who.log)
		if code != 0 || strings.Contains(string(text), "DATA RACE") {
			t.Errorf("exit %d; 66 is that the race detector has found something:\n%s", code, text)
		}
	}
	t.Logf("%d events, %d copies", sum(committed), s.arrived(t, s.topic, committed))
}
