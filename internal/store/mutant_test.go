package store

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestMutants_OfReadingAreCaught plants each known-bad variant of reading in a build of this package's tests, and
// wants the test named beside it to fail.
func TestMutants_OfReadingAreCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the tests again")
	}
	binary := filepath.Join(t.TempDir(), "store.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "mutants", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(mutant, test string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), binary, "-test.short", "-test.run", test)
		cmd.Env = append(os.Environ(), "RELAY_MUTANT="+mutant)
		return cmd.CombinedOutput()
	}
	for mutant, test := range map[string]string{
		"cursor-on-seq":        "TestWindows_UnderFire",
		"order-by-xid-seq":     "TestWindows_UnderFire",
		"anchor-from-xmax":     "TestWindows_UnderFire",
		"silent-empty-window":  "TestWindows_UnderFire",
		"no-second-look":       "TestWindows_UnderFire",
		"settle-without-epoch": "TestSettler_WritesNothingUnderAnotherEpoch",
	} {
		t.Run(mutant, func(t *testing.T) {
			for range 3 { // the fire is random: a few tries
				if out, err := run(mutant, test); err != nil {
					t.Logf("caught by %s", test)
					return
				} else if testing.Verbose() {
					t.Logf("%s", out)
				}
			}
			t.Errorf("%s does not notice the variant %s", test, mutant)
		})
	}
	if out, err := run("", "TestWindows_UnderFire|TestSettler_WritesNothing"); err != nil {
		t.Errorf("the same build without a variant fails: %s", out)
	}
}
