//go:build linux

package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/devenv/proxy"
)

// TestReplicas_AFrozenLeaderIsFencedAndFollowsAgain stops a leader in its tracks for three lease times, with records on
// their way, and lets it go on.
func TestReplicas_AFrozenLeaderIsFencedAndFollowsAgain(t *testing.T) {
	binary := setUp(t)
	t.Parallel()
	for mode, exactly := range map[string]bool{"at_least_once": false, "exactly_once": true} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
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
const mostInFlight = 6000

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
	t.Parallel()
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
	t.Parallel()
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
