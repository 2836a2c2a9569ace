//go:build linux

package acceptance

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestReplay_KilledAgainAndAgain kills the command, and the leader that publishes for it, with SIGKILL. Nothing of the
// range is lost. A killed command makes no copy; a killed leader makes at most one shipment of them with at_least_once,
// and none that a read_committed consumer sees with exactly_once.
func TestReplay_KilledAgainAndAgain(t *testing.T) {
	for mode, most := range map[string]int{"at_least_once": 500, "exactly_once": 0} {
		t.Run(mode, func(t *testing.T) { replayKilled(t, mode, most) })
	}
}

func replayKilled(t *testing.T, mode string, mostCopies int) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	var env []string
	if mode == "exactly_once" {
		env = s.exactly("RELAY_LEASE_TTL=3s")
	}
	const events, rate = 20_000, 4000
	again := s.newTopic(4)
	if _, err := s.connect().Exec(t.Context(), `insert into outbox.events (topic, key, payload)
		select $1, n % 10, to_json(n) from generate_series(1, $2::int) n`, s.topic, events); err != nil {
		t.Fatal(err)
	}
	leader := s.relay(binary, env...)
	s.settled(leader, events, time.Minute)
	queued := func() int64 { return s.ask("select coalesce(max(queued), 0) from outbox.replays") }
	command := func(args ...string) *daemon {
		return launch(t, binary, append([]string{"replay"}, args...), append([]string{
			"RELAY_POSTGRES_URL=" + s.url, "RELAY_KAFKA_BROKERS=" + strings.Join(s.brokers, ",")}, env...)...)
	}
	replay := command("--topic", s.topic, "--since", "1h", "--to", again, "--rate", strconv.Itoa(rate), "--yes")
	for kill := range int64(3) {
		eventually(t, "the replay is on its way", time.Minute, func() bool { return queued() > (kill+1)*events/5 })
		if kill == 1 {
			leader.Kill()
			leader = s.relay(binary, env...)
		}
		replay.Kill()
		if n := s.ask("select count(*) from outbox.replays where state = 'running' and queued < events"); n != 1 {
			t.Fatalf("the command was not killed amid its replay: %d events are handed over", queued())
		}
		replay = command("resume", "1")
	}
	if code := replay.ends(time.Minute); code != 0 {
		t.Errorf("relay replay resume ended with %d", code)
	}
	if n := s.ask("select count(*) from outbox.parked"); n != 0 {
		t.Errorf("%d events wait though the command says that all is published", n)
	}
	leader.stop(10 * time.Second)
	seen, copies, last := map[int]bool{}, 0, map[string]int{}
	s.readBack(again, func(r *kgo.Record) {
		n := must(strconv.Atoi(string(r.Value)))(t)
		switch {
		case seen[n]:
			copies++
		case n < last[string(r.Key)]:
			t.Errorf("key %s: %d came first after %d", r.Key, n, last[string(r.Key)])
		default:
			last[string(r.Key)] = n
		}
		seen[n] = true
	})
	t.Logf("%d events, %d copies", len(seen), copies)
	if len(seen) != events || copies > mostCopies {
		t.Errorf("%d of %d events came, with %d copies, want at most %d", len(seen), events, copies, mostCopies)
	}
}
