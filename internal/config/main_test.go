package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// place is a connection string that needs no server, so that tests of other keys do not have to care.
const place = "RELAY_POSTGRES_URL=postgres://relay@localhost:5432/app"

// write puts a document into a file named relay.toml and returns its path.
func write(t *testing.T, document string) string {
	t.Helper()
	return writeFile(t, "relay.toml", document)
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// faultsOf loads the document and returns its faults, a line each, with the directory of the file taken away.
func faultsOf(t *testing.T, document string, env ...string) string {
	t.Helper()
	path := write(t, document)
	_, err := Load(path, env)
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", "")
}
