// Package gobuild builds the relay for tests, and tells Go's cache of test results what it was made of.
//
// Go takes a test's result from the cache while the test's own packages and the files that it opened are as they were.
// What a program that the test starts was made of, Go does not see: such a test would pass on yesterday's relay. The
// promise: after [Relay], [Sources] or [Reads] in a test, its result is taken from the cache only while those sources, too, are as
// they were.
//
// How: a test that looks at a file or a folder inside the module depends on it (go help test), so these functions look.
package gobuild

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const relay = "github.com/outboxrelay/relay/cmd/relay"

// Relay builds the daemon into the file to, with more flags of go build. The working directory is in the module.
func Relay(ctx context.Context, to string, flags ...string) error {
	if err := Sources(ctx, flags...); err != nil {
		return err
	}
	args := append([]string{"build", "-buildvcs=false", "-o", to}, flags...)
	if out, err := exec.CommandContext(ctx, "go", append(args, relay)...).CombinedOutput(); err != nil {
		return fmt.Errorf("build relay: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// sources prints the folder of each package of this module, the files outside of it that it embeds, and go.mod.
const sources = `{{with .Module}}{{if .Main}}{{$.Dir}}{{range $.EmbedFiles}}
{{$.Dir}}/{{.}}{{end}}
{{.GoMod}}
{{end}}{{end}}`

// Sources makes a test depend on what the relay is made of when it is built with flags, and builds nothing.
func Sources(ctx context.Context, flags ...string) error {
	args := append([]string{"list", "-deps", "-f", sources}, flags...)
	out, err := exec.CommandContext(ctx, "go", append(args, relay)...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		return fmt.Errorf("list what relay is made of: %w", err)
	}
	for _, path := range strings.Fields(string(out)) {
		if err := lookAt(path); err != nil {
			return err
		}
	}
	return nil
}

// lookAt reads a folder, because a file that comes into it counts.
func lookAt(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		_, err = os.ReadDir(path)
	}
	return err
}

// Reads is for what other programs than Go's read: all below a folder, but for what npm and tsc put there.
func Reads(folder string) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.Name() == "node_modules", entry.Name() == "dist":
			return fs.SkipDir
		}
		return lookAt(path)
	})
}
