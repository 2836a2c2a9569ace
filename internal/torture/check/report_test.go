package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

func TestLoad_ReadsWhatWasWritten(t *testing.T) {
	dir, b := t.TempDir(), sound(journal.AtLeastOnce)
	if _, err := Load(dir); err == nil {
		t.Error("a folder without a run was read")
	}
	if err := journal.WriteRun(dir, b.Run); err != nil {
		t.Fatal(err)
	}
	save(t, dir, journal.ActionsFile, b.Actions)
	save(t, dir, journal.LedgerFile, b.Ledger)
	save(t, dir, journal.WitnessFile, b.Witness)
	save(t, dir, journal.ConcurrentFile, b.Concurrent)
	save(t, dir, journal.FreshFile, b.Fresh)
	save(t, dir, journal.UncommittedFile, b.Uncommitted)
	save(t, dir, journal.SamplesFile, b.Samples)
	save(t, dir, journal.UsageFile, b.Usage)
	// The harness was killed while it wrote a line.
	file, err := os.OpenFile(filepath.Join(dir, journal.UsageFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"at":17`); err != nil {
		t.Fatal(err)
	}
	file.Close()
	for name, l := range map[string]Log{"relay-1.1.log": b.Logs[0], "relay-2.1.log": b.Logs[1]} {
		if err := os.WriteFile(filepath.Join(dir, name), l.Text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, second := Check(b), Check(again)
	if first.Page() != second.Page() || !second.OK() || len(again.Logs) != 2 {
		t.Errorf("%s\nwas, before it was written:\n%s", second.Page(), first.Page())
	}
	if err := second.WriteReports(dir); err != nil {
		t.Fatal(err)
	}
	third, err := ReadReport(dir)
	if err != nil || third.Row() != first.Row() {
		t.Errorf("%v, row %s, want %s", err, third.Row(), first.Row())
	}
}

func save[T any](t *testing.T, dir, name string, lines []T) {
	t.Helper()
	w, err := journal.Create(dir, name, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		w.Append(line)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRow_SaysWhatWasViolated(t *testing.T) {
	b := sound(journal.AtLeastOnce)
	b.each(func(r []journal.Record) []journal.Record { return r[1:] })
	result := Check(b)
	row := result.Row()
	if !strings.Contains(row, "**I1**") || strings.Count(row, "|") != 16 {
		t.Error(row)
	}
	if !strings.Contains(result.Page(), "Violated: I1 (1).") {
		t.Error(result.Page())
	}
	if row := Check(sound(journal.AtLeastOnce)).Row(); !strings.Contains(row, "| 1.0 s | 1.0 s | held |") {
		t.Error(row)
	}
}
