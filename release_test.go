package relay_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRelease_HasJemalloc builds what `make release` and the image build. jemalloc ends a program whose MALLOC_CONF has
// a word that it does not know and asks for that; libc's allocator does not look at it.
func TestRelease_HasJemalloc(t *testing.T) {
	if testing.Short() {
		t.Skip("links the program once more")
	}
	if found, _ := filepath.Glob("/usr/lib/*/libjemalloc.a"); len(found) == 0 {
		t.Skip("jemalloc is not installed: make setup")
	}
	binary := filepath.Join(t.TempDir(), "relay")
	build := exec.Command("go", "build", "-buildvcs=false", "-tags", "jemalloc", "-ldflags", "-s -w", "-o", binary, "./cmd/relay")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if out, err := exec.Command(binary, "version").CombinedOutput(); err != nil {
		t.Fatalf("version: %v\n%s", err, out)
	}
	asked := exec.Command(binary, "version")
	asked.Env = append(os.Environ(), "MALLOC_CONF=abort_conf:true,no_such_word:1")
	if out, err := asked.CombinedOutput(); err == nil || !strings.Contains(string(out), "jemalloc") {
		t.Errorf("the allocator does not read MALLOC_CONF: %v\n%s", err, out)
	}
}
