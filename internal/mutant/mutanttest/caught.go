// Package mutanttest proves that tests notice the known-bad variants that package mutant plants.
package mutanttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Caught builds the tests of the package in the working directory with all variants, and wants for each variant the
// test named beside it to fail, and all of them to pass without a variant. Tests that are random get six tries.
// Skipped with -short: it builds the tests again.
func Caught(t *testing.T, by map[string]string) {
	t.Helper()
	caught(t, by, 6, "-test.short")
}

// CaughtOnServers is Caught for tests that -short leaves out. Each gets two tries.
func CaughtOnServers(t *testing.T, by map[string]string) {
	t.Helper()
	caught(t, by, 2)
}

func caught(t *testing.T, by map[string]string, tries int, flags ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the tests of this package again")
	}
	binary := filepath.Join(t.TempDir(), "mutants.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "mutants", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build with mutants: %v\n%s", err, out)
	}
	run := func(mutant, test string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), binary, append(flags, "-test.run", "^"+test+"$")...)
		cmd.Env = append(os.Environ(), "RELAY_MUTANT="+mutant)
		return cmd.CombinedOutput()
	}
	sound := map[string]bool{}
	for mutant, test := range by {
		t.Run(mutant, func(t *testing.T) {
			if !sound[test] {
				if out, err := run("", test); err != nil {
					t.Fatalf("%s fails without any variant: %s", test, out)
				}
				sound[test] = true
			}
			for range tries {
				if _, err := run(mutant, test); err != nil {
					t.Logf("caught by %s", test)
					return
				}
			}
			t.Errorf("%s does not notice the variant %s", test, mutant)
		})
	}
}
