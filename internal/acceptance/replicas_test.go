//go:build linux

package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/process"
)

// The default lease, and what a take-over may take on top of what is left of it.
const (
	leaseTTL  = 15 * time.Second
	takeOver  = leaseTTL + 2*time.Second
	busyExtra = 2 * time.Second // the machine may be slow to notice; the figures are printed
)

// replica is a daemon with its HTTP address.
type replica struct {
	*daemon
	http string
}

// replicas runs daemons with one configuration.
func (s *site) replicas(binary string, n int, env ...string) []*replica {
	s.t.Helper()
	all := make([]*replica, n)
	for i := range all {
		all[i] = s.replica(binary, env...)
	}
	return all
}

func (s *site) replica(binary string, env ...string) *replica {
	s.t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", must(process.FreePort())(s.t))
	return &replica{daemon: s.relay(binary, append([]string{"RELAY_HTTP_LISTEN=" + address}, env...)...), http: address}
}

// ready asks /readyz.
func (r *replica) ready() (status int, leading bool, reasons []string) {
	r.t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://" + r.http + "/readyz")
	if err != nil {
		return 0, false, []string{err.Error()}
	}
	defer response.Body.Close()
	body := must(io.ReadAll(response.Body))(r.t)
	var answer struct {
		Leading bool
		Reasons []string
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		r.t.Fatalf("/readyz answered %s", body)
	}
	return response.StatusCode, answer.Leading, answer.Reasons
}

// leaderOf waits until one of them leads and delivers, and gives it and the others.
func leaderOf(t testing.TB, all []*replica, limit time.Duration) (leader *replica, followers []*replica) {
	t.Helper()
	eventually(t, "one replica leads and every other follows, all of them ready", limit, func() bool {
		leader, followers = nil, nil
		for _, r := range all {
			status, leading, _ := r.ready()
			switch {
			case status != http.StatusOK, leading && leader != nil:
				return false
			case leading:
				leader = r
			default:
				followers = append(followers, r)
			}
		}
		return leader != nil
	})
	return leader, followers
}

// ledNext waits until one of them says that it leads, later than since, and gives when.
func ledNext(t testing.TB, among []*replica, since time.Time, limit time.Duration) (leader *replica, at time.Time) {
	t.Helper()
	eventually(t, "another replica leads", limit, func() bool {
		for _, r := range among {
			for _, l := range r.said("leading") {
				if l.Time.After(since) {
					leader, at = r, l.Time
				}
			}
		}
		return leader != nil
	})
	return leader, at
}

// steady is a crowd that writes some two thousand events a second until it is told to stop, over anything.
func (s *site) steady(ctx context.Context) (end func() map[string]int) {
	c := &crowd{site: s, topic: s.topic, clients: 8, keysEach: 50, least: 10, most: 40, events: 1 << 40,
		pause: 100 * time.Millisecond, through: true}
	return c.start(ctx)
}

func TestReplicas_TakeOverWhenTheLeaderIsKilledAndWhenItIsStopped(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	all := s.replicas(binary, 3)
	leader, followers := leaderOf(t, all, 30*time.Second)
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	end := s.steady(ctx)
	eventually(t, "events are in Kafka", 30*time.Second, func() bool { return s.stored(s.topic) > 3000 })

	killed := time.Now()
	leader.Kill()
	second, at := ledNext(t, followers, killed, 2*takeOver)
	t.Logf("kill -9: another leads after %.2f s", at.Sub(killed).Seconds())
	if took := at.Sub(killed); took > takeOver+busyExtra {
		t.Errorf("taking over took %v after kill -9, want the lease's ttl and at most 2 s", took)
	}
	eventually(t, "the second delivers", 20*time.Second, func() bool {
		status, leading, _ := second.ready()
		return status == http.StatusOK && leading
	})

	for _, r := range followers {
		if r != second {
			asked := time.Now()
			second.stop(30 * time.Second)
			_, at := ledNext(t, []*replica{r}, asked, 20*time.Second)
			released := second.said("lease released")
			if len(released) != 1 {
				t.Fatal("the second did not release the lease")
			}
			t.Logf("SIGTERM: drained in %.2f s, another leads %.2f s after that", released[0].Time.Sub(asked).Seconds(), at.Sub(released[0].Time).Seconds())
			if took := at.Sub(released[0].Time); took > time.Second {
				t.Errorf("taking over took %v after a clean stop, want 1 s", took)
			}
			enough()
			committed := end()
			s.settled(r.daemon, sum(committed), time.Minute)
			r.stop(20 * time.Second)
			if copies := s.arrived(t, s.topic, committed); copies > mostCopies {
				t.Errorf("%d copies, want at most %d", copies, mostCopies)
			}
		}
	}
}

func TestReplicas_ARollingRestartMakesNoCopyAndKeepsTheOrder(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	all := s.replicas(binary, 3)
	leaderOf(t, all, 30*time.Second)
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	end := s.steady(ctx)
	for i := range all {
		before := s.stored(s.topic)
		eventually(t, "events flow", 30*time.Second, func() bool { return s.stored(s.topic) > before+3000 })
		all[i].stop(30 * time.Second)
		all[i] = s.replica(binary)
		leaderOf(t, all, 30*time.Second)
	}
	enough()
	committed := end()
	s.settled(all[0].daemon, sum(committed), time.Minute)
	for _, r := range all {
		r.stop(20 * time.Second)
	}
	if copies := s.arrived(t, s.topic, committed); copies != 0 {
		t.Errorf("%d copies after clean stops, want none", copies)
	}
}
