package docs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/gobuild"
)

// pgVersion of the npm package that JavaScript runs with.
const pgVersion = "8.23.1"

// programs compiles the Go of all pages at once, in a module that uses the repository as an application would.
func programs(t *testing.T, pages []page) string {
	t.Helper()
	folder, repo := t.TempDir(), repository(t)
	module, err := os.ReadFile(filepath.Join(repo, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(repo, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	const name = "github.com/outboxrelay/relay"
	// Our own requirements pin the versions, so that nothing is asked for.
	text := strings.Replace(string(module), "module "+name, "module example.com/docs", 1) +
		"\nrequire " + name + " v0.0.0\n\nreplace " + name + " => " + repo + "\n"
	files := map[string]string{"go.mod": text, "go.sum": string(sums)}
	for _, p := range pages {
		for _, b := range p.blocks {
			if b.lang == "go" && b.options == "" {
				// The line directive lets the compiler name the page.
				files[filepath.Join(program(p, b), "main.go")] = fmt.Sprintf("//line %s:%d\n%s", filepath.Join(repo, p.path), b.line+1, b.text)
			}
		}
	}
	if len(files) == 2 {
		return folder
	}
	for path, text := range files {
		path = filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(folder, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(gobuild.Reads(filepath.Join(root, "outbox")),
		compile(folder, filepath.Join(folder, "bin")+"/", "./...", "GOFLAGS=-mod=mod", "GOWORK=off")); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, "bin")
}

var noName = regexp.MustCompile(`[^a-z0-9]+`)

// program is the name of a block's program.
func program(p page, b block) string {
	return fmt.Sprintf("%s_%d", noName.ReplaceAllString(strings.ToLower(p.path), "_"), b.line)
}

var require = regexp.MustCompile(`\brequire\(`)

// node runs a program of JavaScript: one that requires is CommonJS, any other an ES module.
func (s *stage) node(p page, b block) (string, error) {
	packages, err := shared.npm()
	if err != nil {
		return "", err
	}
	if _, err := os.Lstat(filepath.Join(s.folder, "node_modules")); err != nil {
		s.link(filepath.Join(packages, "node_modules"), "node_modules")
	}
	name := program(p, b) + ".mjs"
	if require.MatchString(b.text) {
		name = program(p, b) + ".cjs"
	}
	return s.run("", "node", s.write(name, s.relocate(b.text)))
}

// installed brings pg into the user's cache folder, once for all runs.
func installed() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	base = filepath.Join(base, "outbox-relay")
	folder := filepath.Join(base, "npm-pg-"+pgVersion)
	if _, err := os.Stat(filepath.Join(folder, "node_modules", "pg", "package.json")); err == nil {
		return folder, nil
	}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("the pages have JavaScript, and this machine has no %s: run make setup (go test -short leaves JavaScript out)", tool)
		}
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	half, err := os.MkdirTemp(base, "npm-half-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(half)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "install", "--prefix", half, "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "pg@"+pgVersion)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install pg from npm: %w\n%s", err, out)
	}
	// A folder that appears at once: another test may be looking for it, or have brought it in the meantime.
	if err := os.Rename(half, folder); err != nil && !os.IsExist(err) {
		return "", fmt.Errorf("name the folder of npm packages: %w", err)
	}
	return folder, nil
}
