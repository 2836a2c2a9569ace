//go:build linux

package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/devenv/process"
	"github.com/outboxrelay/relay/internal/devenv/proxy"
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

// TestReplicas_AFrozenLeaderIsFencedAndFollowsAgain stops a leader in its tracks for three lease times, with records on
// their way, and lets it go on.
func TestReplicas_AFrozenLeaderIsFencedAndFollowsAgain(t *testing.T) {
	binary := setUp(t)
	for mode, exactly := range map[string]bool{"at_least_once": false, "exactly_once": true} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, nil, nil)
			ttl, env := leaseTTL, []string(nil)
			if exactly {
				ttl = 3 * time.Second
				env = s.exactly("RELAY_LEASE_TTL=3s")
			}
			all := s.replicas(binary, 2, env...)
			leader, followers := leaderOf(t, all, 30*time.Second)
			ctx, enough := context.WithCancel(t.Context())
			defer enough()
			end := s.steady(ctx)
			eventually(t, "events are in Kafka", 30*time.Second, func() bool { return s.stored(s.topic) > 3000 })
			frozen := time.Now()
			leader.Freeze()
			_, led := ledNext(t, followers, frozen, 2*ttl+5*time.Second)
			t.Logf("another leads %.2f s after the freeze", led.Sub(frozen).Seconds())
			time.Sleep(time.Until(frozen.Add(3 * ttl)))
			thawed := time.Now()
			leader.Thaw()
			fenced := sayAfter(leader.daemon, thawed, "stepping down")
			t.Logf("thawed, it said: %s", fenced.text)
			eventually(t, "the thawed leader follows, ready", 20*time.Second, func() bool {
				status, leading, _ := leader.ready()
				return status == http.StatusOK && !leading && len(leader.said("following")) > 0
			})
			enough()
			committed := end()
			s.settled(followers[0].daemon, sum(committed), time.Minute)
			for _, r := range all {
				r.stop(20 * time.Second)
			}
			late := s.lateRecords(frozen, led)
			copies := s.arrived(t, s.topic, committed)
			t.Logf("%d copies; %d records of the frozen leader came after its successor's first", copies, late)
			if exactly && copies+late > 0 {
				t.Errorf("%d copies and %d late records with exactly_once", copies, late)
			}
			if copies > mostCopies || late > mostInFlight {
				t.Errorf("%d copies and %d late records, want at most %d and %d", copies, late, mostCopies, mostInFlight)
			}
		})
	}
}

// mostInFlight is how many rows are in flight at most.
const mostInFlight = 10_000

// sayAfter waits for one of these phrases in a line later than since.
func sayAfter(d *daemon, since time.Time, phrases ...string) (found line) {
	d.t.Helper()
	since = since.Truncate(time.Millisecond)
	eventually(d.t, fmt.Sprintf("the relay says one of %q", phrases), 30*time.Second, func() bool {
		d.runs()
		for _, phrase := range phrases {
			for _, l := range d.said(phrase) {
				if !l.Time.Before(since) {
					found = l
					return true
				}
			}
		}
		return false
	})
	return found
}

// lateRecords counts the records that were made before a leader was frozen and are stored behind one that was made
// after another had led: records are stamped when they are handed to Kafka's client.
func (s *site) lateRecords(frozen, led time.Time) (late int) {
	s.t.Helper()
	succeeded := map[int32]bool{}
	s.readBack(s.topic, func(r *kgo.Record) {
		switch {
		case !r.Timestamp.Before(led):
			succeeded[r.Partition] = true
		case succeeded[r.Partition] && r.Timestamp.Before(frozen):
			late++
		}
	})
	return late
}

// TestReplicas_NobodySettlesWithoutTheLease edits the lease's row under a leader: first as another leader would have
// left it, then as a clock that jumps would.
func TestReplicas_NobodySettlesWithoutTheLease(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	db := s.connect()
	all := s.replicas(binary, 2)
	leader, _ := leaderOf(t, all, 30*time.Second)
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	end := s.steady(ctx)
	edit := func(what, change string) {
		t.Helper()
		if _, err := db.Exec(t.Context(), "update outbox.relays set "+change); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	eventually(t, "events are in Kafka", 30*time.Second, func() bool { return s.stored(s.topic) > 3000 })
	stolen := time.Now()
	edit("steal the lease", "epoch = epoch + 1, holder = 'thief', expires_at = clock_timestamp() + interval '5 s'")
	l := sayAfter(leader.daemon, stolen, "stepping down")
	t.Logf("the lease was stolen: %s", l.text)
	leaderOf(t, all, 30*time.Second)

	// What is left of a lease, if the clock were an hour ahead. A renewal may come before a follower has looked.
	terms := s.ask("select epoch from outbox.relays")
	for s.ask("select epoch from outbox.relays") == terms {
		edit("jump forward", "expires_at = expires_at - interval '1 hour'")
		time.Sleep(time.Second)
	}
	leaderOf(t, all, 30*time.Second)
	edit("jump back", "expires_at = expires_at + interval '1 hour'")
	eventually(t, "the leader's next renewal ends the jump", 10*time.Second, func() bool {
		return s.ask("select count(*) from outbox.relays where expires_at < clock_timestamp() + interval '20 s'") == 1
	})
	enough()
	committed := end()
	s.settled(all[0].daemon, sum(committed), time.Minute)
	for _, r := range all {
		r.stop(20 * time.Second)
	}
	if copies := s.arrived(t, s.topic, committed); copies > mostCopies {
		t.Errorf("%d copies, want at most %d", copies, mostCopies)
	}
}

// TestReplicas_ALeaderThatPostgresDoesNotAnswerGivesUpInTime lets the network of the leader swallow everything, while
// the follower's works.
func TestReplicas_ALeaderThatPostgresDoesNotAnswerGivesUpInTime(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	direct := must(url.Parse(s.url))(t)
	network := must(proxy.StartTCP(direct.Host))(t)
	t.Cleanup(network.Close)
	through := *direct
	through.Host = network.Address()
	first := s.replica(binary, "RELAY_POSTGRES_URL="+through.String())
	first.saysSoon("session began", 20*time.Second)
	second := s.replica(binary)
	second.saysSoon("following", 20*time.Second)
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	end := s.steady(ctx)
	eventually(t, "events are in Kafka", 30*time.Second, func() bool { return s.stored(s.topic) > 3000 })

	hung := time.Now()
	if err := network.Hang(); err != nil {
		t.Fatal(err)
	}
	noticed := sayAfter(first.daemon, hung, "PostgreSQL is not available, waiting", "session ended")
	t.Logf("noticed after %.2f s: %s", noticed.Time.Sub(hung).Seconds(), noticed.text)
	if took := noticed.Time.Sub(hung); took > 10*time.Second+busyExtra {
		t.Errorf("noticing took %v, want 10 s", took)
	}
	status, _, reasons := first.ready()
	if status == http.StatusOK {
		t.Errorf("/readyz answers %d %v", status, reasons)
	}
	_, led := ledNext(t, []*replica{second}, hung, 2*takeOver)
	down := sayAfter(first.daemon, hung, "stepping down")
	t.Logf("the leader gave up %.2f s after the network hung, the follower led after %.2f s", down.Time.Sub(hung).Seconds(), led.Sub(hung).Seconds())
	if took := led.Sub(hung); took > takeOver+busyExtra {
		t.Errorf("taking over took %v, want the lease's ttl and at most 2 s", took)
	}
	if late := s.lateRecords(led.Add(-time.Second), led); late > 0 {
		t.Errorf("%d records that the first had sent a second before are behind the second's", late)
	}
	if err := network.Heal(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first follows", 30*time.Second, func() bool {
		status, leading, _ := first.ready()
		return status == http.StatusOK && !leading
	})
	enough()
	committed := end()
	s.settled(second.daemon, sum(committed), time.Minute)
	for _, r := range []*replica{first, second} {
		r.Signal(syscall.SIGTERM)
		if code := r.ends(20 * time.Second); code != 0 {
			t.Errorf("exit %d after SIGTERM, want 0", code)
		}
	}
	if copies := s.arrived(t, s.topic, committed); copies > mostCopies {
		t.Errorf("%d copies, want at most %d", copies, mostCopies)
	}
}
