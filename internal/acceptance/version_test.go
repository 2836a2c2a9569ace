//go:build linux

package acceptance

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVersion_IsPrintedFast(t *testing.T) {
	binary := setUp(t)
	var took []time.Duration
	for range 10 {
		began := time.Now()
		out, err := exec.Command(binary, "version").CombinedOutput()
		took = append(took, time.Since(began))
		if err != nil || !strings.Contains(string(out), "librdkafka 2.") {
			t.Fatalf("%v: %s", err, out)
		}
	}
	slices.Sort(took)
	t.Logf("relay version: median %.0f ms, best %.0f ms, worst %.0f ms (aimed at: 30)",
		milliseconds(took[len(took)/2]), milliseconds(took[0]), milliseconds(took[len(took)-1]))
	// The best, because what else the machine does is not the program's.
	if took[0] > 100*time.Millisecond {
		t.Errorf("relay version took %v at best, want under 100 ms", took[0])
	}
}
