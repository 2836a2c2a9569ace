package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outboxrelay/relay/bench/figures"
	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
	"github.com/outboxrelay/relay/bench/workload"
	"github.com/outboxrelay/relay/internal/devenv/connect"
	"github.com/outboxrelay/relay/internal/devenv/gobuild"
)

// TestMain lets this binary play the systems that are this program.
func TestMain(m *testing.M) {
	if os.Getenv(sut.ChildVariable) != "" {
		os.Exit(Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestWorkloads_EachRunsAndIsReadBack keeps the benchmark from rotting: every workload with a relay, every system with
// a drain, so small that the figures say nothing.
func TestWorkloads_EachRunsAndIsReadBack(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real Apache Kafka, which -short leaves out")
	}
	if _, err := os.Stat("/proc/stat"); err != nil {
		t.Skip("the benchmark reads /proc, which only Linux has")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	relay := filepath.Join(t.TempDir(), "relay")
	if err := gobuild.Relay(ctx, relay); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	report := &figures.Report{Quick: true, Began: time.Now()}
	jobs, err := plan(ctx, options{}, sut.Kinds(relay, self), report)
	if err != nil {
		t.Fatal(err)
	}
	for i := range jobs {
		jobs[i].kinds = slices.DeleteFunc(jobs[i].kinds, func(k sut.Kind) bool { return !smoke(jobs[i].Name, k) })
	}
	oneInFlight, clean, err := buildOneInFlight(ctx, relay)
	if err != nil {
		t.Fatal(err)
	}
	defer clean()
	r, err := rig.Open(ctx, rig.Options{Small: true, Logical: connect.Present(), WarmRecords: 1000, Far: wantsFar(jobs), Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := measure(ctx, &workload.Bench{Rig: r, Sizes: workload.Smallest, Relay: relay, OneInFlight: oneInFlight}, jobs, 1, report); err != nil {
		t.Fatal(err)
	}
	for _, run := range report.Runs {
		if run.Fault != "" || len(run.Values) == 0 {
			t.Errorf("%s, %s: fault %q, values %v", run.Workload, run.System, run.Fault, run.Values)
		}
	}
	for _, j := range jobs {
		if !slices.ContainsFunc(report.Runs, func(run figures.Run) bool { return strings.HasPrefix(run.Workload, j.Name) }) {
			t.Errorf("workload %s was not run", j.Name)
		}
	}
	if f := report.Median("drain", "poller", "dead_tuples"); f.Value < float64(workload.Smallest.Drain) {
		t.Errorf("the poller marks each row, and left %v dead tuples of %d", f.Value, workload.Smallest.Drain)
	}
	if f := report.Median("steady", "relay-librdkafka", "wal_bytes"); f.Value <= 0 {
		t.Errorf("the relay settles, and delivery wrote %v bytes an event to the log", f.Value)
	}
	kept := func(measure string) float64 { return report.Median("retention", "relay-librdkafka", measure).Value }
	// Here a period is a second or so: on a busy machine what is to be done in it may be late by a part of one.
	if kept("table_most_mib") > 1.5*kept("table_promised_mib") || kept("table_left_mib") > 1 || kept("dead_tuples") > 0 || kept("wal_bytes") <= 0 {
		t.Errorf("retention: the table had %v MiB of %v promised, and in the end %v; %v dead tuples; %v bytes of log an event",
			kept("table_most_mib"), kept("table_promised_mib"), kept("table_left_mib"), kept("dead_tuples"), kept("wal_bytes"))
	}
	if f := report.Median("takeover", "relay-librdkafka-exactly", "killed_seconds"); f.Value < 0.5 {
		t.Errorf("a lease of 3 s was taken over in %v s", f.Value)
	}
	for _, flight := range []string{"1 in flight", "5 in flight"} {
		system := "relay-librdkafka, " + flight + ", 50 partitions, 2 ms"
		if f := report.Median("round-trips", system, "p50_ms"); f.Value < 1 {
			t.Errorf("%s: half of the events came within %v ms, and the way there alone takes one", system, f.Value)
		}
	}
	if _, err := report.Page(); err != nil {
		t.Error(err)
	}
}

// smoke says whether a system takes part in the test of a workload.
func smoke(name string, k sut.Kind) bool {
	switch {
	case name == "writers":
		return true
	case name == "takeover": // its lease may be short
		return k.Name == "relay-librdkafka-exactly"
	case k.Name == "relay-librdkafka":
		return true
	case k.Logical:
		return name == "drain" && k.Name == "debezium-tuned" && connect.Present()
	}
	return name == "drain"
}

func TestMain_RefusesWhatItDoesNotKnow(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"run", "--relay", "/bin/true", "--only", "drian"}, exitUsage, "there is no such workload"},
		{[]string{"run", "--relay", "/bin/true", "--systems", "poler"}, exitUsage, "there is no such system"},
		{[]string{"run", "--runs", "0"}, exitUsage, "one at least"},
		{[]string{"report", "main.go"}, exitUsage, "not a report"},
		{[]string{"rum"}, exitUsage, "unknown command"},
	} {
		var said strings.Builder
		if code := Main(t.Context(), test.args, &said, &said); code != test.code || !strings.Contains(said.String(), test.want) {
			t.Errorf("%v: exit %d, %s; want %d and %q", test.args, code, said.String(), test.code, test.want)
		}
	}
}

// docs/performance.md is never written by hand: the page is what the program makes of the figures beside it.
func TestPage_IsMadeFromItsFigures(t *testing.T) {
	report, err := figures.Read("performance.json")
	if err != nil {
		t.Fatal(err)
	}
	page, err := report.Page()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]byte{"../docs/performance.md": page, "../docs/performance.svg": report.Plot("drain")} {
		if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
			t.Errorf("%s is not what bench report makes (%v): run `bin/bench report bench/performance.json`", path, err)
		}
	}
}
