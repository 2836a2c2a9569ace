package importcheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/outboxrelay/relay"

// allowed are the modules that pgx itself needs.
var allowed = []string{
	module,
	"github.com/jackc/pgx/v5", "github.com/jackc/pgpassfile", "github.com/jackc/pgservicefile", "github.com/jackc/puddle/v2",
	"golang.org/x/crypto", "golang.org/x/sync", "golang.org/x/text",
}

// Tests count too: go mod tidy in an application looks at the tests of what it imports.
func TestOutbox_AndItsTestsImportPgxAndTheStandardLibraryOnly(t *testing.T) {
	out := run(t, filepath.Join("..", ".."), nil, "go", "list", "-deps", "-test", "-json=ImportPath,Module,Standard,CgoFiles", "./outbox/...")
	decoder := json.NewDecoder(strings.NewReader(out))
	seen := 0
	for {
		var pkg struct {
			ImportPath string
			Standard   bool
			Module     *struct{ Path string }
			CgoFiles   []string
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if pkg.Standard || pkg.Module == nil {
			continue
		}
		seen++
		if !slices.Contains(allowed, pkg.Module.Path) {
			t.Errorf("outbox or one of its tests imports %s of %s", pkg.ImportPath, pkg.Module.Path)
		}
		if len(pkg.CgoFiles) > 0 {
			t.Errorf("%s needs cgo", pkg.ImportPath)
		}
	}
	if seen < 5 {
		t.Errorf("only %d packages were looked at", seen)
	}
}

const program = `package main

import (
	"context"
	"fmt"

	"github.com/outboxrelay/relay/outbox"
)

func main() {
	fmt.Println(outbox.Insert(context.Background(), nil, outbox.Event{}))
}
`

// What an application sees: its own go.mod and go.sum, and a build without a C compiler.
func TestAProgramThatImportsOutbox_GetsNoKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("go mod tidy may ask the module proxy")
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	goMod := "module example.com/application\n\ngo 1.26\n\nrequire " + module + " v0.0.0\n\nreplace " + module + " => " + root + "\n"
	for name, text := range map[string]string{"go.mod": goMod, "main.go": program} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	environment := []string{"GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0"}
	run(t, folder, environment, "go", "mod", "tidy")
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "jackc/pgx") {
			t.Errorf("%s does not name pgx, so it shows nothing", file)
		}
		for line := range strings.Lines(string(text)) {
			for _, unwanted := range []string{"kafka", "franz", "goose", "cobra", "zerolog", "prometheus", "cron"} {
				if strings.Contains(line, unwanted) && !strings.Contains(line, "replace") {
					t.Errorf("%s: %s", file, line)
				}
			}
		}
	}
	if out := run(t, folder, environment, "go", "run", "."); !strings.Contains(out, "Topic is missing") {
		t.Errorf("the program said %q", out)
	}
}

// run returns what the command printed. A machine without the module proxy cannot tidy, and that is no fault of ours.
func run(t *testing.T, folder string, environment []string, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = folder
	command.Env = append(os.Environ(), environment...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		for _, offline := range []string{"dial tcp", "no such host", "module lookup disabled", "connection refused"} {
			if strings.Contains(stderr.String(), offline) {
				t.Skipf("%s %s needs the module proxy: %s", name, strings.Join(args, " "), offline)
			}
		}
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return stdout.String()
}
