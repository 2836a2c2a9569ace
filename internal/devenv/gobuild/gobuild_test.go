package gobuild

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// go test gives each test binary the file that it writes down in what the cache has to look at. This test gives itself
// one, and reads it.
func TestGobuild_TellsTheCacheWhatWasReadAndWhatRelayIsMadeOf(t *testing.T) {
	const begun = "RELAY_TEST_GOBUILD_BEGUN"
	if os.Getenv(begun) != "" {
		if err := Sources(t.Context(), "-tags", "jemalloc"); err != nil {
			t.Fatal(err)
		}
		if err := Reads("../../../clients/node/packages/core"); err != nil {
			t.Fatal(err)
		}
		return
	}
	log := filepath.Join(t.TempDir(), "log")
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.testlogfile="+log)
	again.Env = append(os.Environ(), begun+"=1")
	if out, err := again.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	core := "../../../clients/node/packages/core"
	for _, line := range []string{
		"open " + root + "/cmd/relay", "open " + root + "/publisher/librdkafka", "stat " + root + "/go.mod",
		"stat " + root + "/migrations/0001_outbox.sql", "open " + core + "/src", "stat " + core + "/package.json",
	} {
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("the cache does not look at it: %s", line)
		}
	}
	if strings.Contains(string(text), "node_modules/") {
		t.Error("the cache looks at what npm put there")
	}
}
