package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/outboxrelay/relay/internal/torture/journal"
	"github.com/outboxrelay/relay/publisher"
)

// The reports in a run's folder.
const (
	ReportFile = "report.json"
	PageFile   = "report.md"
)

// WriteReports writes report.json and report.md.
func (r Result) WriteReports(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{ReportFile: string(text) + "\n", PageFile: r.Page()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}

// ReadReport reads a folder's report.json.
func ReadReport(dir string) (r Result, err error) {
	text, err := os.ReadFile(filepath.Join(dir, ReportFile))
	if err != nil {
		return r, fmt.Errorf("this folder has no report (relay-torture check writes one): %w", err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", ReportFile, err)
	}
	return r, nil
}

// Page is the report for people, in Markdown.
func (r Result) Page() string {
	var b strings.Builder
	verdict := "Nothing was violated."
	if !r.OK() {
		var names []string
		for _, name := range slices.SortedFunc(maps.Keys(r.Broken), func(a, b string) int {
			return number(Violation{Invariant: a}) - number(Violation{Invariant: b})
		}) {
			names = append(names, fmt.Sprintf("%s (%d)", name, r.Broken[name]))
		}
		verdict = "Violated: " + strings.Join(names, ", ") + "."
	}
	fmt.Fprintf(&b, "# Torture run, seed %d, %s, %v\n\n%s\n\n", r.Run.Seed, r.Run.Mode, r.Run.Duration, verdict)
	fmt.Fprintf(&b, "%s. Relay %s, %d replicas on %s, lease %v. Began %s.\n\n", r.Run.Servers, r.Run.Commit, r.Run.Relays, cmp.Or(r.Run.Client, publisher.ClientLibrdkafka), r.Run.LeaseTTL,
		journal.Time(r.Run.Began).Format(time.RFC3339))
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "- %s: %s\n", v.Invariant, v.Text)
	}
	f := r.Figures
	fmt.Fprintf(&b, "\n| | |\n|---|---|\n")
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "| %s | %s |\n", name, fmt.Sprintf(format, args...))
	}
	row("transactions", "%d, of them %d rolled back, %d whose end their writer did not learn", f.Transactions, f.RolledBack, f.Unknown)
	row("events committed", "%d of %d written", f.Committed, f.Written)
	row("records read", "%d", f.Published)
	row("lost, changed, invented", "%d, %d, %d", f.Lost, f.Changed, f.Invented)
	row("commits that PostgreSQL lost; published before", "%d; %d events", f.CommitsLost, f.Phantoms)
	row("copies", "%d, %.0f in a million, %d of one event at most", f.Copies, f.CopiesPPM, f.CopiesMost)
	row("order", "%d inversions, %d stale in %d serialised keys", f.Inversions, f.StaleTail, f.OrderedKeys)
	if r.Run.Mode == journal.ExactlyOnce {
		row("transactions of the relay", "%d committed, %d records aborted", f.Batches, f.Aborted)
	}
	row("faults", "%s", counts(f.Faults))
	if f.Operated > 0 {
		row("transactions that Kafka left open, ended as an operator would", "%d, see actions.jsonl", f.Operated)
	}
	if f.Troubles > 0 {
		row("faults that were not possible then", "%d, see actions.jsonl", f.Troubles)
	}
	row("terms; sessions that ended", "%d; %s", f.Terms, counts(f.SessionEnds))
	for _, name := range slices.Sorted(maps.Keys(f.TakeOver)) {
		row("take-over after "+name, "%s", f.TakeOver[name])
	}
	for _, name := range slices.Sorted(maps.Keys(f.Recovery)) {
		row("first record after "+name, "%s", f.Recovery[name])
	}
	row("commit to reader, quiet", "%s", f.VisibleQuiet)
	row("commit to reader, under faults", "%s", f.VisibleFaulted)
	row("drained after", "%.1f s; at most %d events were pending", f.DrainMS/1000, f.PendingMax)
	row("a relay at most", "%d MiB, %d files, %d lines of log a minute", f.RSSMax>>20, f.FilesMax, f.LogPerMinuteMax)
	return b.String()
}

func (s Spread) String() string {
	if s.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f ms, p99 %.0f, at most %.0f (%d)", s.P50, s.P99, s.Max, s.N)
}

func counts(m map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, m[name]))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// Row is the run's line of docs/track-record.md.
func (r Result) Row() string {
	f := r.Figures
	verdict := "held"
	if !r.OK() {
		verdict = "**" + strings.Join(slices.Sorted(maps.Keys(r.Broken)), " ") + "**"
	}
	longest := "-"
	if len(f.TakeOver) > 0 {
		longest = fmt.Sprintf("%.1f s", f.longest()/1000)
	}
	return fmt.Sprintf("| %s | %s | %s | %d | %v | %s | %s | %d | %d | %d | %d | %d | %s | %.1f s | %s |",
		journal.Time(r.Run.Began).Format("2006-01-02"), r.Run.Commit, r.Run.Mode, r.Run.Seed, r.Run.Duration, r.Run.Servers,
		counts(f.Faults), f.Committed, f.Lost, f.Invented, f.Copies, f.Inversions+f.StaleTail, longest, f.DrainMS/1000, verdict)
}

// longest take-over, milliseconds.
func (f Figures) longest() (most float64) {
	for _, s := range f.TakeOver {
		most = max(most, s.Max)
	}
	return most
}
