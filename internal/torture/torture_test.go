package torture

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outboxrelay/relay/internal/devenv/gobuild"
	"github.com/outboxrelay/relay/internal/devenv/process"
	"github.com/outboxrelay/relay/internal/devenv/proxy"
	"github.com/outboxrelay/relay/internal/torture/check"
	"github.com/outboxrelay/relay/internal/torture/journal"
	"github.com/outboxrelay/relay/publisher"
)

// binaries are the relays that the tests of this process share. It is package state on purpose: a link takes seconds.
type binaries struct {
	folder *process.Folder
	plain  func() (string, error)
	mutant func() (string, error) // with the known-bad variants
}

var shared *binaries

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		goleak.VerifyTestMain(m)
		return
	}
	folder, err := process.OpenFolder("", "outbox-relay-torture-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared = &binaries{folder: folder}
	shared.plain = sync.OnceValues(func() (string, error) { return shared.build("relay") })
	shared.mutant = sync.OnceValues(func() (string, error) { return shared.build("relay-mutants", "-tags", "mutants") })
	code := m.Run()
	folder.Release()
	if err := goleak.Find(proxy.Leaks()...); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func (b *binaries) build(name string, flags ...string) (string, error) {
	path := filepath.Join(b.folder.Path, name)
	return path, gobuild.Relay(context.Background(), path, flags...)
}

// tortured does a run and gives its judgement. The folder is kept when the test fails and RELAY_TORTURE_KEEP names a
// place for it.
func tortured(t *testing.T, o Options) check.Result {
	t.Helper()
	o.Dir = filepath.Join(t.TempDir(), "run")
	if keep := os.Getenv("RELAY_TORTURE_KEEP"); keep != "" {
		o.Dir = filepath.Join(keep, fmt.Sprintf("%s.%d", strings.ReplaceAll(t.Name(), "/", "."), o.Seed))
	}
	o.Log = slog.New(slog.DiscardHandler)
	result, err := Run(context.Background(), o)
	if err != nil {
		t.Fatalf("%v\nthe end of the relays' logs:\n%s", err, logs(o.Dir))
	}
	return result
}

func logs(dir string) string {
	var b strings.Builder
	paths, _ := filepath.Glob(filepath.Join(dir, "relay-*.log"))
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		fmt.Fprintf(&b, "%s:\n%s\n", filepath.Base(path), text[max(0, len(text)-4000):])
	}
	return b.String()
}

// TestTorture_HoldsInEachMode is the short tier of what docs/track-record.md records.
func TestTorture_HoldsInEachMode(t *testing.T) {
	if testing.Short() {
		t.Skip("breaks real servers for a minute a mode, which -short leaves out")
	}
	binary, err := shared.plain()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, mode, client string
		duration           time.Duration
		faults             []string
	}{
		{journal.AtLeastOnce, journal.AtLeastOnce, publisher.ClientLibrdkafka, 40 * time.Second, nil},
		{journal.ExactlyOnce, journal.ExactlyOnce, publisher.ClientLibrdkafka, 40 * time.Second, nil},
		{"franz-go", journal.AtLeastOnce, publisher.ClientFranz, 25 * time.Second, nil},
		// Nothing breaks here but people's habits, so a copy is a violation.
		{"operators", journal.AtLeastOnce, publisher.ClientLibrdkafka, 20 * time.Second, []string{"operator_holds", "operator_replays", "topic_late"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := Options{Seed: 5, Duration: c.duration, Mode: c.mode, Client: c.client, Faults: c.faults, Relay: binary}
			result := tortured(t, o)
			if result.Run.Client != c.client {
				t.Errorf("the journal says client %q, want %q", result.Run.Client, c.client)
			}
			t.Log("\n" + result.Page())
			if !result.OK() {
				t.Errorf("violated: %v", result.Violations)
			}
			if f := result.Figures; f.Committed < 200 || len(f.Faults) < 2 || f.OrderedKeys < 10 || f.RolledBack == 0 {
				t.Errorf("%d events were committed, %d keys, %d rollbacks, under %v: too little to prove anything",
					f.Committed, f.OrderedKeys, f.RolledBack, f.Faults)
			}
		})
	}
}

// TestTorture_FailsARunOfAnotherClient: a variable wins over the configuration that the run writes, as it does anywhere.
func TestTorture_FailsARunOfAnotherClient(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real servers, which -short leaves out")
	}
	binary, err := shared.plain()
	if err != nil {
		t.Fatal(err)
	}
	result := tortured(t, Options{Seed: 1, Duration: 5 * time.Second, Client: publisher.ClientFranz, Relay: binary, Faults: []string{"relay_stop"},
		Env: []string{"RELAY_KAFKA_CLIENT=" + publisher.ClientLibrdkafka}})
	if len(result.Broken) != 1 || result.Broken["I14"] == 0 {
		t.Errorf("violated: %v; want I14 alone", result.Violations)
	}
}

// TestTorture_CatchesABrokenRelay plants known-bad variants in the relay. That the judgement sees each kind of violation
// is tested in package check; this is about the run: that it provokes what they get wrong.
func TestTorture_CatchesABrokenRelay(t *testing.T) {
	if testing.Short() {
		t.Skip("breaks real servers for a minute a variant, which -short leaves out")
	}
	binary, err := shared.mutant()
	if err != nil {
		t.Fatal(err)
	}
	for _, variant := range []struct {
		name  string
		nodes int
		want  string
	}{
		// Kafka is away until records time out: they are settled already.
		{"settle-before-ack", 1, "I1"},
		// One broker of three is away: what the others have acked is settled, and with it what it has not.
		{"highest-ack", 3, "I1"},
		// The session ends with records in flight, and the next one goes on behind them.
		{"position-across-reconnect", 1, "I1"},
	} {
		t.Run(variant.name, func(t *testing.T) {
			t.Parallel() // each has servers of its own, and a run lasts as long as it is told to
			const seeds = 6
			for seed := range uint64(seeds) {
				result := tortured(t, Options{Seed: seed + 1, Duration: 35 * time.Second, Round: 14 * time.Second, Relay: binary, Nodes: variant.nodes,
					Faults: []string{"kafka_net_hang"},
					Env:    []string{"RELAY_MUTANT=" + variant.name}})
				if result.Broken[variant.want] > 0 {
					t.Logf("caught by %s with seed %d: %s", variant.want, seed+1, result.Violations[0].Text)
					return
				}
			}
			t.Errorf("%d seeds did not violate %s", seeds, variant.want)
		})
	}
}
