package figures

import (
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

func run(system string, round int, rate float64, others float64, fault string) Run {
	return Run{Workload: "drain", System: system, Round: round, Events: 100, Others: others, Fault: fault,
		Values: map[string]float64{"events_per_second": rate}, Samples: []Sample{{0, 0}, {1, 60}, {2, 100}}}
}

func TestMedian_LeavesOutFailedAndDisturbedRuns(t *testing.T) {
	r := &Report{Runs: []Run{
		run("a", 1, 10, 0, ""), run("a", 2, 30, 0, ""), run("a", 3, 20, 0, ""),
		run("a", 4, 9000, 0, "1 missing"), run("a", 5, 9000, 0.5, ""),
		run("b", 1, 7, 0.5, ""),
	}}
	if f := r.Median("drain", "a", "events_per_second"); f.Value != 20 || f.Of != 3 || f.Busy {
		t.Errorf("%+v, want 20 of the 3 that were good", f)
	}
	if f := r.Median("drain", "b", "events_per_second"); f.Value != 7 || !f.Busy {
		t.Errorf("%+v, want 7, marked: there was no quiet run", f)
	}
	if f := r.Median("drain", "c", "events_per_second"); f.Known {
		t.Errorf("%+v of no runs", f)
	}
}

func TestRatio_ComparesWithinARound(t *testing.T) {
	r := &Report{Runs: []Run{
		run("a", 1, 20, 0, ""), run("b", 1, 10, 0, ""),
		run("a", 2, 2, 0, ""), run("b", 2, 1, 0, ""),
		run("a", 3, 30, 0, ""), run("b", 3, 10, 0, "2 copies"),
	}}
	// Of all values it would be 20 to 10 or 2 to 1; round 3 has no yardstick.
	if f := r.Ratio("events_per_second", "drain", "a", "drain", "b"); f.Value != 2 || f.Of != 2 {
		t.Errorf("%+v, want 2 of 2 rounds", f)
	}
}

func TestTable_NamesFaultsAndMarksWhatWasDisturbed(t *testing.T) {
	r := &Report{Runs: []Run{run("a", 1, 10, 0, "1 missing"), run("b", 1, 7, 0.5, "")}, Skipped: []Skipped{{"c", "no Java"}}}
	var b strings.Builder
	r.Table(&b)
	for _, want := range []string{"FAILED: drain, a, round 1: 1 missing", "7!", "1 of 2 runs were disturbed", "skipped: c: no Java"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestReport_ComesBackFromItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bench.json")
	r := &Report{Runs: []Run{run("a", 1, 10, 0, "")}}
	if err := r.Write(path); err != nil {
		t.Fatal(err)
	}
	back, err := Read(path)
	if err != nil || len(back.Runs) != 1 || back.Runs[0].Values["events_per_second"] != 10 || len(back.Runs[0].Samples) != 3 {
		t.Errorf("%+v, %v", back, err)
	}
	if _, err := Read("report.go"); err == nil || !strings.Contains(err.Error(), "not a report") {
		t.Errorf("a file that is no report: %v", err)
	}
}

func TestPlot_IsXMLWithALineForEachSystem(t *testing.T) {
	r := &Report{Runs: []Run{run("a<b", 1, 10, 0, ""), run("c", 1, 10, 0, "")}}
	plot := string(r.Plot("drain"))
	for d := xml.NewDecoder(strings.NewReader(plot)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(plot, "<polyline"); n != 4 {
		t.Errorf("%d lines, want two systems in two panels", n)
	}
}
