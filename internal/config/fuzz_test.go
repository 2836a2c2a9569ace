package config

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad: no document makes the loader panic, every fault has a place, and whatever is printed can be printed.
func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example), "")
	f.Add(everyKind, "20s")
	f.Add(canaryDocument, "x")
	f.Add("[[topics]]\n[topics.create]\n", "")
	f.Add("a.b.c=1\n[a]\n[[a.b]]\n", "")
	f.Add("[kafka]\nproperties={a={b=[{c=1}]}}\ntls=[[]]\n[kafka.tls.enabled]\n", "")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, document, ttl string) {
		path := filepath.Join(dir, "relay.toml")
		if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(path, []string{"RELAY_LEASE_TTL=" + ttl, "RELAY_HTTP_LISTEN=" + ttl}, PostgresOptional)
		if err := cfg.WriteTOML(io.Discard); err != nil {
			t.Error(err)
		}
		if err := cfg.WriteJSON(io.Discard); err != nil {
			t.Error(err)
		}
		if err == nil {
			return
		}
		faults, ok := err.(Faults) //nolint:errorlint // Load promises the type itself
		if !ok || len(faults) == 0 {
			t.Fatalf("%T: %v", err, err)
		}
		for _, fault := range faults {
			if fault.File == "" && fault.Env == "" || fault.Reason == "" || strings.Contains(fault.File, "\n") {
				t.Errorf("a fault without a place or reason: %+v", fault)
			}
		}
	})
}
