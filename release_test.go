package relay_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	// maxSize holds for linux/amd64; docs/decisions/0008-binary-size.md says what makes it up.
	maxSize = 35_500_000
	// maxStart is what `relay version` may take: a health check or a script calls the program often.
	maxStart = 30 * time.Millisecond
)

// TestRelease looks at what `make release` and the image build.
func TestRelease(t *testing.T) {
	if testing.Short() {
		t.Skip("links the program once more")
	}
	if found, _ := filepath.Glob("/usr/lib/*/libjemalloc.a"); len(found) == 0 {
		t.Skip("jemalloc is not installed: make setup")
	}
	binary := filepath.Join(t.TempDir(), "relay")
	build := exec.Command("scripts/build-release.sh", binary, "-X main.version=v1.2.3")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	t.Run("has what it is made of", func(t *testing.T) {
		out, err := exec.Command(binary, "version").CombinedOutput()
		if err != nil {
			t.Fatalf("version: %v\n%s", err, out)
		}
		for _, want := range []string{"relay v1.2.3", "librdkafka", "franz-go"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("version does not say %q:\n%s", want, out)
			}
		}
	})
	// jemalloc ends a program whose MALLOC_CONF has a word that it does not know and asks for that; libc's allocator does
	// not look at it.
	t.Run("has jemalloc", func(t *testing.T) {
		asked := exec.Command(binary, "version")
		asked.Env = append(os.Environ(), "MALLOC_CONF=abort_conf:true,no_such_word:1")
		if out, err := asked.CombinedOutput(); err == nil || !strings.Contains(string(out), "jemalloc") {
			t.Errorf("the allocator does not read MALLOC_CONF: %v\n%s", err, out)
		}
	})
	t.Run("gives memory back soon", func(t *testing.T) {
		asked := exec.Command(binary, "version")
		asked.Env = append(os.Environ(), "MALLOC_CONF=confirm_conf:true")
		if out, err := asked.CombinedOutput(); err != nil || !strings.Contains(string(out), "dirty_decay_ms:100") {
			t.Errorf("the allocator does not have our settings: %v\n%s", err, out)
		}
	})
	t.Run("is small", func(t *testing.T) {
		if runtime.GOOS+"/"+runtime.GOARCH != "linux/amd64" {
			t.Skip("the limit is that of linux/amd64")
		}
		info, err := os.Stat(binary)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d bytes", info.Size())
		if info.Size() > maxSize {
			t.Errorf("%d bytes, more than %d", info.Size(), maxSize)
		}
	})
	t.Run("starts at once", func(t *testing.T) {
		if best := bestStart(t, binary, maxStart); best > maxStart {
			t.Errorf("relay version takes %v, more than %v", best, maxStart)
		}
	})
}

// bestStart is the shortest of several starts: what the program needs, beside what else the machine does. It stops at
// the first that is short enough.
func bestStart(t *testing.T, binary string, enough time.Duration) time.Duration {
	t.Helper()
	best := time.Hour
	for range 30 {
		began := time.Now()
		if err := exec.Command(binary, "version").Run(); err != nil {
			t.Fatal(err)
		}
		if best = min(best, time.Since(began)); best <= enough {
			t.Logf("%v", best)
			break
		}
	}
	return best
}
