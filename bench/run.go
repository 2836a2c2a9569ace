package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/bench/figures"
	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
	"github.com/outboxrelay/relay/bench/workload"
)

type options struct {
	only, systems []string
	rounds        int
	quick, json   bool
	spell         time.Duration // of what is watched for a time; 0: as quick says
	relay, out    string
	small         bool           // for the test of this program
	sizes         workload.Sizes // the same; zero: as quick says
}

func newRunCommand(stdout, stderr io.Writer) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "run", Short: "Measure, and print tables", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := run(cmd.Context(), o, stderr)
			if report != nil {
				if err := tell(report, o, stdout); err != nil {
					return err
				}
			}
			if err == nil && len(report.Faults()) > 0 {
				err = errFaults
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.only, "only", nil, "`WORKLOADS`, with commas between: "+strings.Join(workloadNames(), ", "))
	f.StringSliceVar(&o.systems, "systems", nil, "`NAMES` of systems, with commas between (default: all that make sense for a workload)")
	f.IntVar(&o.rounds, "runs", 5, "rounds; figures are medians over them")
	f.DurationVar(&o.spell, "spell", 0, "`TIME` that each latency, idle, writers, steady and round-trips run takes (default: 20s to a minute, 3s to 5s with --quick)")
	f.BoolVar(&o.quick, "quick", false, "small loads, to see that all works")
	f.BoolVar(&o.json, "json", false, "print the report as JSON instead of tables")
	f.StringVar(&o.relay, "relay", "", "`PATH` of the relay's binary (default: the one beside this program, else it is built)")
	f.StringVar(&o.out, "out", ".", "`FOLDER` for bench.json and bench.svg")
	return cmd
}

func workloadNames() (names []string) {
	for _, w := range workload.All() {
		names = append(names, w.Name)
	}
	return names
}

// tell prints the report and writes its files.
func tell(report *figures.Report, o options, stdout io.Writer) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	if err := report.Write(filepath.Join(o.out, "bench.json")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.out, "bench.svg"), report.Plot("drain"), 0o644); err != nil {
		return err
	}
	if !o.json {
		report.Table(stdout)
		return nil
	}
	text, err := os.ReadFile(filepath.Join(o.out, "bench.json"))
	if err != nil {
		return err
	}
	_, err = stdout.Write(text)
	return err
}

// job is a workload with the systems that are to run it.
type job struct {
	workload.Workload
	kinds []sut.Kind
}

// run measures. With an error it also gives what was measured before.
func run(ctx context.Context, o options, stderr io.Writer) (*figures.Report, error) {
	if o.rounds < 1 {
		return nil, usageError{fmt.Errorf("--runs %d: one at least", o.rounds)}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	relay, clean, err := findRelay(ctx, o.relay, self)
	if err != nil {
		return nil, err
	}
	defer clean()
	report := &figures.Report{Began: time.Now().UTC().Truncate(time.Second), Quick: o.quick || o.small}
	jobs, err := plan(ctx, o, sut.Kinds(relay, self), report)
	if err != nil {
		return nil, err
	}
	for _, s := range report.Skipped {
		fmt.Fprintf(stderr, "skipped: %s: %s\n", s.System, s.Why)
	}
	logical := slices.ContainsFunc(jobs, func(j job) bool {
		return slices.ContainsFunc(j.kinds, func(k sut.Kind) bool { return k.Logical })
	})
	sizes, warm := o.loads()
	far, oneInFlight := wantsFar(jobs), ""
	if far {
		if oneInFlight, clean, err = buildOneInFlight(ctx, relay); err != nil {
			return nil, err
		}
		defer clean()
	}
	r, err := rig.Open(ctx, rig.Options{Logical: logical, WarmRecords: warm, Small: o.small, Far: far, Log: stderr})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	report.Settings = r.Settings
	if o.spell > 0 {
		report.Settings["spell"] = o.spell.String()
	}
	if report.Machine, report.Versions, err = describe(ctx, r, relay, logical); err != nil {
		return nil, err
	}
	err = measure(ctx, &workload.Bench{Rig: r, Sizes: sizes, Relay: relay, OneInFlight: oneInFlight}, jobs, o.rounds, report)
	report.Took = time.Since(report.Began).Round(time.Second).String()
	return report, err
}

// plan says what runs with what, and notes in the report what cannot run here.
func plan(ctx context.Context, o options, kinds []sut.Kind, report *figures.Report) (jobs []job, err error) {
	for _, name := range o.only {
		if !slices.Contains(workloadNames(), name) {
			return nil, usageError{fmt.Errorf("--only %s: there is no such workload; there are %s", name, strings.Join(workloadNames(), ", "))}
		}
	}
	var names []string
	var able []sut.Kind
	for _, kind := range kinds {
		names = append(names, kind.Name)
		if len(o.systems) > 0 && !slices.Contains(o.systems, kind.Name) {
			continue
		}
		if err := kind.Missing(ctx); err != nil {
			report.Skipped = append(report.Skipped, figures.Skipped{System: kind.Name, Why: err.Error()})
			continue
		}
		able = append(able, kind)
	}
	for _, name := range o.systems {
		if !slices.Contains(names, name) {
			return nil, usageError{fmt.Errorf("--systems %s: there is no such system; there are %s", name, strings.Join(names, ", "))}
		}
	}
	for _, w := range workload.All() {
		if len(o.only) > 0 && !slices.Contains(o.only, w.Name) {
			continue
		}
		j := job{Workload: w}
		for _, kind := range able {
			byDefault := len(o.systems) > 0 || w.Default == nil || w.Default(kind)
			if !w.Alone && w.Accepts(kind) && byDefault {
				j.kinds = append(j.kinds, kind)
			}
		}
		if w.Alone {
			j.kinds = []sut.Kind{{}}
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// loads are the sizes of the workloads, and the records that warm Kafka.
func (o options) loads() (workload.Sizes, int) {
	sizes, warm := workload.Full, 6_000_000
	switch {
	case o.small:
		sizes, warm = o.sizes, 0
	case o.quick:
		sizes, warm = workload.Quick, 200_000
	}
	if o.spell > 0 {
		sizes.Latency, sizes.Idle, sizes.Writers, sizes.Steady = o.spell, o.spell, o.spell, o.spell
	}
	return sizes, warm
}

func wantsFar(jobs []job) bool {
	return slices.ContainsFunc(jobs, func(j job) bool { return j.Far && len(j.kinds) > 0 })
}

// measure runs the jobs round by round. Each round begins with another system: whoever is the first of a workload meets
// servers that have just done something else.
func measure(ctx context.Context, b *workload.Bench, jobs []job, rounds int, report *figures.Report) error {
	for round := 1; round <= rounds; round++ {
		for _, j := range jobs {
			if j.Once && round > 1 {
				continue
			}
			for i := range j.kinds {
				kind := j.kinds[(i+round-1)%len(j.kinds)]
				b.Rig.Logf("%s %s, round %d of %d", j.Name, kind.Name, round, rounds)
				measured, err := j.Run(ctx, b, kind)
				if err != nil {
					return fmt.Errorf("%s, %s, round %d: %w", j.Name, kind.Name, round, err)
				}
				for _, one := range measured {
					if one.System == "" {
						one.System = kind.Name
					}
					if one.Workload == "" {
						one.Workload = j.Name
					}
					one.Round = round
					report.Runs = append(report.Runs, one)
					b.Rig.Logf("    %s: %s", one.System, one)
				}
			}
		}
	}
	return nil
}
