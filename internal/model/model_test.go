package model

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// weather is a bounded world by its name: which faults there are, and how much happens.
type weather string

const (
	letters     weather = "-DROWS=2 -DTERMS=2 -DSESSIONS=3 -DNO_STANDBY"
	unnoticed   weather = letters + " -DUNNOTICED"
	failover    weather = "-DROWS=2 -DTERMS=2 -DSESSIONS=3 -DLOSES=1 -DNO_LATE_STATEMENT -DNO_LATE_END -DNO_TIMEOUT"
	atLeastOnce weather = "-DROWS=2 -DTERMS=2 -DSESSIONS=3 -DLOSES=2 -DAT_LEAST_ONCE"
)

func (w weather) name() string {
	return map[weather]string{letters: "letters", unnoticed: "unnoticed", failover: "failover", atLeastOnce: "at_least_once"}[w]
}

// The protocol keeps its promises in every state that can be reached.
func TestModel_Holds(t *testing.T) {
	for _, w := range []weather{letters, unnoticed, failover, atLeastOnce} {
		t.Run(w.name(), func(t *testing.T) {
			if broken := check(t, w, "", whole); broken != "" {
				t.Errorf("%s can happen; doc.go says how to print the way there", broken)
			}
		})
	}
}

// A known-bad variant breaks a promise. That two guards stand in for one another shows in variants that need two names.
func TestModel_CatchesVariants(t *testing.T) {
	for _, c := range []struct {
		variant string
		weather weather
	}{
		{"EPOCH_ONLY", letters},
		{"READ_BEFORE_FENCE", letters},
		{"SETTLE_WITHOUT_EPOCH", letters},
		{"COMMIT_BEFORE_PREPARE", letters},
		{"REUSE_AFTER_DOUBT", letters},
		{"PROGRESS_NOT_TO_END", letters},
		{"NO_BEGIN REUSE_AFTER_ABORT", letters},
		{"PROGRESS_FIRST", unnoticed},
		{"PROGRESS_BEFORE_ACKS", unnoticed},
		{"APPLY_WHEN_NEWER", failover},
		{"NO_HOLDER", failover},
		{"EPOCH_ONLY", atLeastOnce},
		{"SETTLE_WITHOUT_EPOCH", atLeastOnce},
		{"SETTLE_BEFORE_ACK", atLeastOnce},
		{"POSITION_ACROSS_RECONNECT", atLeastOnce},
	} {
		t.Run(c.weather.name()+"/"+c.variant, func(t *testing.T) {
			broken := check(t, c.weather, c.variant, early)
			if broken == "" {
				t.Fatal("not noticed")
			}
			t.Logf("caught: %s", broken)
		})
	}
}

// Variants that break nothing alone, because another guard holds: if one of them is caught some day, that guard is gone.
func TestModel_SecondGuards(t *testing.T) {
	for variant, because := range map[string]string{
		"NO_RECHECK":                  "prepare and settle name the session, so nothing is written, and nothing committed",
		"NO_BEGIN":                    "no abort stays behind: the producer is replaced after each",
		"REUSE_AFTER_ABORT NUMBERS=3": "the begin record is gone with the transaction, so the progress record is refused",
	} {
		t.Run(variant, func(t *testing.T) {
			if broken := check(t, letters, variant, whole); broken != "" {
				t.Errorf("%s can happen, although %s", broken, because)
			}
		})
	}
}

// The model goes where it matters: what is claimed here to be unreachable is reached.
func TestModel_ReachesItsEnds(t *testing.T) {
	for end, where := range map[string]weather{
		"REACHES_BOTH_TERMS":       letters,
		"REACHES_TWO_BATCHES":      letters,
		"REACHES_COSTLY_PROMOTION": failover,
		"REACHES_NEWER_PROGRESS":   failover,
		"REACHES_OLDER_COPY":       atLeastOnce,
	} {
		t.Run(end, func(t *testing.T) {
			if check(t, where, end, early) == "" {
				t.Error("cannot happen in the model")
			}
		})
	}
}

var (
	violated = regexp.MustCompile(`(?m)^pan:\d+: (?:assertion violated\s+)?(.*?) \(at depth`)
	done     = regexp.MustCompile(`errors: (\d+)`)
	stored   = regexp.MustCompile(`(\d+) states, stored`)
)

// search is how much the C compiler should optimise: that takes longer than a search that ends early.
type search string

const (
	whole search = "-O2"
	early search = "-O0"
)

// check builds the model with a variant (names for -D) and searches all its states. It returns the broken promise, or
// nothing.
func check(t *testing.T, w weather, variant string, optimise search) string {
	t.Helper()
	if testing.Short() {
		t.Skip("searches millions of states")
	}
	dir := t.TempDir()
	for _, name := range []string{"relay.pml", "servers.pml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := strings.Fields(string(w))
	for _, name := range strings.Fields(variant) {
		flags = append(flags, "-D"+name)
	}
	run(t, dir, "spin", append(append([]string{"-a"}, flags...), "relay.pml")...)
	run(t, dir, "cc", string(optimise), "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=4000", "-o", "pan", "pan.c")
	began := time.Now()
	out := run(t, dir, "./pan", "-m1000000")
	errorCount := done.FindStringSubmatch(out)
	if errorCount == nil || strings.Contains(out, "Search not completed") && errorCount[1] == "0" ||
		strings.Contains(out, "too small") {
		t.Fatalf("the search was not finished:\n%s", out)
	}
	if found := violated.FindStringSubmatch(out); found != nil {
		return found[1]
	}
	if errorCount[1] != "0" {
		t.Fatalf("an error without a name:\n%s", out)
	}
	t.Logf("%s states in %s", stored.FindStringSubmatch(out)[1], time.Since(began).Round(100*time.Millisecond))
	return ""
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is missing: make setup", name)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out))
	}
	return string(out)
}
