package docs

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/gobuild"
	"github.com/outboxrelay/relay/internal/devenv/process"
)

// house is what all pages share. It is package state on purpose: a link of the binary takes seconds.
type house struct {
	folder *process.Folder
	guard  *process.Guard         // ends daemons that this program could not end
	relay  func() (string, error) // path of the binary; built at the first call
	npm    func() (string, error) // folder with node_modules; filled at the first call ever
}

var shared *house

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		os.Exit(m.Run())
	}
	var err error
	if shared, err = openHouse(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	shared.guard.Close()
	os.Exit(code)
}

func openHouse() (*house, error) {
	folder, err := process.OpenFolder("", "outbox-relay-docs-")
	if err != nil {
		return nil, err
	}
	guard, err := process.NewGuard(folder, syscall.SIGKILL)
	if err != nil {
		folder.Release()
		return nil, err
	}
	return &house{
		folder: folder, guard: guard, npm: sync.OnceValues(installed),
		relay: sync.OnceValues(func() (string, error) {
			path := filepath.Join(folder.Path, "relay")
			return path, gobuild.Relay(context.Background(), path)
		}),
	}, nil
}

// compile runs go build in a folder.
func compile(folder, to, what string, env ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // the Kafka client's first compile is slow
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", to, what)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", what, err, out)
	}
	return nil
}

// full skips what needs more than PostgreSQL under -short, and gives the relay's binary.
func full(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the relay, which -short leaves out")
	}
	path, err := shared.relay()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
