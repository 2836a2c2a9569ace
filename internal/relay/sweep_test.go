//go:build linux

package relay

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
)

// TestSweep_EveryStepInterrupted kills, and freezes, a relay at every step of the protocol in both modes, on real
// servers. Its successor must lose nothing and keep the order; with exactly_once it must send nothing twice, and the
// thawed one neither.
func TestSweep_EveryStepInterrupted(t *testing.T) {
	t.Parallel()
	cluster := kafka.ForTest(t)
	binary := withFailpoints(t)
	n := 0
	for mode, points := range map[string][]string{
		"at_least_once": {"acquired", "connected", "position", "page@20", "send@700", "settle-ready@2", "settle-done@2", "renew", "drain"},
		"exactly_once": {"acquired", "connected", "init", "position", "page@20", "begin@3", "send@700", "acked@3", "prepare-ready@3",
			"prepare-done@3", "progress@3", "commit@3", "committed@3", "settle-ready", "settle-done", "renew", "drain"},
	} {
		for _, point := range points {
			for _, action := range []string{"kill", "stop"} {
				n++
				topic := fmt.Sprintf("sweep-%d-%d", os.Getpid(), n)
				t.Run(mode+"/"+point+"/"+action, func(t *testing.T) {
					t.Parallel()
					s := &sweep{rig: newRigOn(t, cluster.Brokers()), binary: binary, topic: topic, exactly: mode == "exactly_once"}
					s.showOnFailure()
					s.createTopic(topic, 4, nil)
					s.run(point, action)
				})
			}
		}
	}
}

// sweep is one case.
type sweep struct {
	*rig
	binary, topic string
	exactly       bool
	written       int
}

func (s *sweep) run(point, action string) {
	at, pass, counted := strings.Cut(point, "@")
	at += ":" + action
	if counted {
		at += "@" + pass
	}
	first := s.relay("RELAY_FAULT=" + at)
	s.write(30)
	if point == "drain" {
		s.settled(30 * time.Second)
		_ = first.Process.Signal(os.Interrupt)
	}
	atRest := point == "drain" || s.exactly && strings.HasPrefix(point, "settle")
	eventually(s.t, "the relay comes to "+point, time.Minute, func() bool {
		if !atRest {
			s.write(1)
		}
		return strings.ContainsAny(state(first.Process.Pid), "TZ")
	})
	if action == "kill" {
		if err := first.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			s.t.Fatalf("the relay was not killed at %s: %v", point, err)
		}
	}
	s.exec("update outbox.relays set expires_at = '-infinity'") // so that the successor need not wait for the lease
	second := s.relay()
	s.write(5)
	s.settled(60 * time.Second)
	if action == "stop" {
		_ = first.Process.Signal(syscall.SIGCONT)
		s.write(5)
		s.settled(60 * time.Second)
		if point != "drain" {
			eventually(s.t, "the thawed one notices", 30*time.Second, func() bool { return strings.Contains(s.log.String(), "stepping down") })
			_ = first.Process.Signal(os.Interrupt)
		}
		if err := first.Wait(); err != nil {
			s.t.Errorf("the thawed relay ended with %v", err)
		}
	}
	_ = second.Process.Signal(os.Interrupt)
	if err := second.Wait(); err != nil {
		s.t.Errorf("the successor: %v", err)
	}
	s.compare()
}

func (s *sweep) compare() {
	var records []*kgo.Record
	copies := s.written
	if s.exactly {
		records, copies = s.committed(s.topic), 0
	} else {
		records = s.read(s.topic)
	}
	test, ok := s.t.(*testing.T)
	if !ok {
		s.t.Fatal("a sweep runs in a test")
	}
	checkOrder(test, records, s.written, copies)
}

// write inserts transactions of fifty events, one after the other, so that the order of each key is known.
func (s *sweep) write(transactions int) {
	for range transactions {
		s.exec("insert into outbox.events (topic, key, payload) select $3, n % 10, to_json(n) from generate_series($1::int, $2::int) n",
			s.written+1, s.written+50, s.topic)
		s.written += 50
		time.Sleep(10 * time.Millisecond) // the load, not a wait
	}
}

func (s *sweep) relay(env ...string) *exec.Cmd {
	if s.exactly {
		env = append(env, "RELAY_OUTBOX_DELIVERY=exactly_once", "RELAY_KAFKA_TRANSACTIONAL_ID="+s.topic)
	}
	return s.child(s.binary, env...)
}

// state is how the kernel sees a process: T stopped by a signal, Z ended.
func state(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(text), ") ")
	return after[:min(1, len(after))]
}
