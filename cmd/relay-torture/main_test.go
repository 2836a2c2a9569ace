package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outboxrelay/relay/internal/torture/check"
	"github.com/outboxrelay/relay/internal/torture/journal"
)

func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errors bytes.Buffer
	code = Main(t.Context(), args, &out, &errors)
	return code, out.String(), errors.String()
}

func TestMain_SaysHowItEnded(t *testing.T) {
	empty := t.TempDir()
	for _, row := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"run", "--sede", "1"}, exitUsage, "See `relay-torture run --help`."},
		{[]string{"check"}, exitUsage, "accepts 1 arg"},
		{[]string{"run", "--mode", "sometimes", "--relay", "r", "--dir", empty}, exitFailed, `mode "sometimes"`},
		{[]string{"check", empty}, exitFailed, "not the folder of a torture run"},
		{[]string{"record", empty}, exitFailed, "relay-torture check writes one"},
	} {
		code, _, stderr := call(t, row.args...)
		if code != row.code || !strings.Contains(stderr, row.says) {
			t.Errorf("%v: exit %d, said %q; want %d and %q", row.args, code, stderr, row.code, row.says)
		}
	}
}

// A run that drained, with one transaction in its ledger that nobody read.
func TestCheck_FindsALossWithoutAServer(t *testing.T) {
	dir := t.TempDir()
	if err := journal.WriteRun(dir, journal.Run{Mode: journal.AtLeastOnce, Seed: 99}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		journal.LedgerFile:  `{"tx":"a","what":"intent","events":[{"id":"x","topic":"t","partition":-1}]}` + "\n" + `{"tx":"a","what":"outcome","end":"committed"}` + "\n",
		journal.WitnessFile: `{"tx":"a"}` + "\n",
		journal.ActionsFile: `{"what":"drained","ok":true}` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, stdout, stderr := call(t, "check", dir)
	if code != exitFound || !strings.Contains(stdout, "Violated: I1 (1).") || stderr != "" {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	if _, err := check.ReadReport(dir); err != nil {
		t.Error(err)
	}
	if code, stdout, _ := call(t, "record", dir); code != exitDone || !strings.Contains(stdout, "| 99 |") || !strings.Contains(stdout, "**I1**") {
		t.Errorf("exit %d, row %s", code, stdout)
	}
}
