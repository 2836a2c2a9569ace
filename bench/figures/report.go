package figures

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// MostOthers is the share of the machine that others and steal may take during a run that counts.
const MostOthers = 0.20

// Report is one run of the benchmark.
type Report struct {
	Began    time.Time         `json:"began"`
	Took     string            `json:"took"`
	Quick    bool              `json:"quick"`    // small loads: figures show that it works, not how well
	Machine  Machine           `json:"machine"`  // what it ran on
	Versions map[string]string `json:"versions"` // of what ran
	Settings map[string]string `json:"settings"` // that were not the defaults
	Skipped  []Skipped         `json:"skipped"`
	Runs     []Run             `json:"runs"`
}

// Machine is what the benchmark ran on.
type Machine struct {
	CPU       string  `json:"cpu"`
	Cores     int     `json:"cores"`
	MemoryGiB float64 `json:"memory_gib"`
	Kernel    string  `json:"kernel"`
}

// Skipped is a system that was asked for and could not run.
type Skipped struct {
	System string `json:"system"`
	Why    string `json:"why"`
}

// Run is one system under one workload, once.
type Run struct {
	Workload string             `json:"workload"`
	System   string             `json:"system"`
	Round    int                `json:"round"`
	Events   int                `json:"events"`
	Values   map[string]float64 `json:"values"`            // by measure; the unit is the measure's
	Others   float64            `json:"others"`            // share of the machine, 0 to 1
	Fault    string             `json:"fault,omitempty"`   // why it is a failed run
	Samples  []Sample           `json:"samples,omitempty"` // of a drain
}

// Sample is how far a run was at a time.
type Sample struct {
	Seconds float64 `json:"s"`
	Stored  int64   `json:"n"`
}

// Busy says whether others took too much of the machine.
func (r Run) Busy() bool { return r.Others > MostOthers }

// Figure is a median.
type Figure struct {
	Value float64
	Of    int  // runs
	Busy  bool // others took too much of the machine in all of them
	Known bool // false: there is none
}

// of are the runs of a system that count.
func (r *Report) of(workload, system string) []Run {
	var quiet, all []Run
	for _, run := range r.Runs {
		if run.Workload != workload || run.System != system || run.Fault != "" {
			continue
		}
		all = append(all, run)
		if !run.Busy() {
			quiet = append(quiet, run)
		}
	}
	if len(quiet) > 0 {
		return quiet
	}
	return all
}

// Median is a measure's, over the runs that count.
func (r *Report) Median(workload, system, measure string) Figure {
	var values []float64
	busy := false
	for _, run := range r.of(workload, system) {
		if v, ok := run.Values[measure]; ok {
			values = append(values, v)
			busy = run.Busy()
		}
	}
	return figure(values, busy)
}

// Ratio is the median over the rounds of a measure of one run by that of another in the same round.
func (r *Report) Ratio(measure, workload, system, toWorkload, toSystem string) Figure {
	var ratios []float64
	busy := false
	for _, run := range r.of(workload, system) {
		for _, yardstick := range r.of(toWorkload, toSystem) {
			v, ok := run.Values[measure]
			to := yardstick.Values[measure]
			if ok && to > 0 && run.Round == yardstick.Round {
				ratios = append(ratios, v/to)
				busy = busy || run.Busy() || yardstick.Busy()
			}
		}
	}
	return figure(ratios, busy)
}

func figure(values []float64, busy bool) Figure {
	if len(values) == 0 {
		return Figure{}
	}
	return Figure{Value: Median(values), Of: len(values), Busy: busy, Known: true}
}

// Median of some values; NaN of none.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	switch {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// Faults are the failed runs.
func (r *Report) Faults() (failed []Run) {
	for _, run := range r.Runs {
		if run.Fault != "" {
			failed = append(failed, run)
		}
	}
	return failed
}

// Workloads that were run, in their order.
func (r *Report) Workloads() (names []string) {
	for _, run := range r.Runs {
		if !slices.Contains(names, run.Workload) {
			names = append(names, run.Workload)
		}
	}
	return names
}

// Systems that ran under a workload, in their order.
func (r *Report) Systems(workload string) (names []string) {
	for _, run := range r.Runs {
		if run.Workload == workload && !slices.Contains(names, run.System) {
			names = append(names, run.System)
		}
	}
	return names
}

// Write writes it as JSON.
func (r *Report) Write(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// Read reads what Write wrote.
func Read(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a report: %w", err)
	}
	r := new(Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read %s: it is not a report of `make bench`: %w", path, err)
	}
	return r, nil
}

// String is a line for people who watch.
func (r Run) String() string {
	var parts []string
	for _, m := range Measures {
		if v, ok := r.Values[m.Key]; ok {
			parts = append(parts, m.Short+" "+fmt.Sprintf(m.Form, v))
		}
	}
	text := fmt.Sprintf("%s; others %.0f %%", strings.Join(parts, ", "), 100*r.Others)
	if r.Fault != "" {
		text += "; FAILED: " + r.Fault
	}
	return text
}
