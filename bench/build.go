package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"

	"github.com/outboxrelay/relay/internal/devenv/gobuild"
)

// findRelay gives the binary to measure: the one named, the one beside this program, or one built from the repository
// in the working directory.
func findRelay(ctx context.Context, named, self string) (path string, clean func(), err error) {
	clean = func() {}
	if named != "" {
		path, err = filepath.Abs(named)
		return path, clean, err
	}
	beside := filepath.Join(filepath.Dir(self), "relay")
	if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
		return beside, clean, nil
	}
	if _, err := os.Stat("cmd/relay"); err != nil {
		return "", clean, usageError{fmt.Errorf("there is no relay beside this program, and this is not the repository: name its binary with --relay")}
	}
	return build(ctx)
}

// buildOneInFlight builds the relay that round-trips compares with, as the measured one was built but for the requests
// that its librdkafka has in flight. The working directory is in the repository.
func buildOneInFlight(ctx context.Context, measured string) (path string, clean func(), err error) {
	info, err := buildinfo.ReadFile(measured)
	if err != nil {
		return "", func() {}, fmt.Errorf("see how relay was built: %w", err)
	}
	flags := []string{"-trimpath", "-ldflags", "-s -w -X github.com/outboxrelay/relay/publisher/librdkafka.inFlight=1"}
	for _, setting := range info.Settings {
		if setting.Key == "-tags" {
			flags = append(flags, "-tags", setting.Value)
		}
	}
	return build(ctx, flags...)
}

// build builds the relay into a folder that clean removes.
func build(ctx context.Context, flags ...string) (path string, clean func(), err error) {
	dir, err := os.MkdirTemp("", "outbox-relay-bench-build-")
	if err != nil {
		return "", func() {}, err
	}
	clean = func() { _ = os.RemoveAll(dir) } // a folder of the system's temporary ones
	path = filepath.Join(dir, "relay")
	if err := gobuild.Relay(ctx, path, flags...); err != nil {
		clean()
		return "", func() {}, err
	}
	return path, clean, nil
}
