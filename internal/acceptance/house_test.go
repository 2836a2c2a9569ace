//go:build linux

package acceptance

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outboxrelay/relay/internal/devenv/gobuild"
	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/internal/devenv/process"
	"github.com/outboxrelay/relay/internal/devenv/proxy"
)

const prefix = "outbox-relay-acceptance-"

// house is what the tests of this process share. It is package state on purpose: a link of the binary and a start of
// Kafka take five seconds each.
type house struct {
	folder *process.Folder
	guard  *process.Guard
	plain  func() (string, error) // path of the binary; built at the first call
	racy   func() (string, error) // the same with the race detector
	kafka  func() (*kafka.Cluster, error)

	cluster *kafka.Cluster // written by kafka, read when all tests are over
}

var shared *house

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		os.Exit(m.Run()) // every test skips itself
	}
	var err error
	if shared, err = openHouse(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	shared.close()
	if err := goleak.Find(proxy.Leaks()...); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func openHouse() (*house, error) {
	folder, err := process.OpenFolder("", prefix)
	if err != nil {
		return nil, err
	}
	guard, err := process.NewGuard(folder, syscall.SIGKILL)
	if err != nil {
		folder.Release()
		return nil, err
	}
	h := &house{folder: folder, guard: guard}
	h.plain = sync.OnceValues(func() (string, error) { return h.build("relay") })
	h.racy = sync.OnceValues(func() (string, error) { return h.build("relay-race", "-race") })
	h.kafka = sync.OnceValues(func() (*kafka.Cluster, error) {
		var err error
		// The heap at which the JVM compiles for throughput: figures would be the broker's otherwise.
		h.cluster, err = kafka.Start(context.Background(), kafka.Options{HeapMB: 1024})
		return h.cluster, err
	})
	return h, nil
}

func (h *house) close() {
	if h.cluster != nil {
		h.cluster.Stop()
	}
	h.guard.Close()
}

func (h *house) build(name string, flags ...string) (string, error) {
	path := filepath.Join(h.folder.Path, name)
	return path, gobuild.Relay(context.Background(), path, flags...)
}

// setUp skips a test under -short, and gives the binary.
func setUp(t *testing.T) (binary string) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the relay against real servers, which -short leaves out")
	}
	return must(shared.plain())(t)
}

// must fails the test on an error, and gives the value: must(f())(t).
func must[T any](value T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// eventually polls a claim.
func eventually(t testing.TB, what string, limit time.Duration, claim func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !claim(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
