package docs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

var (
	dotted   = regexp.MustCompile(`^[a-z]+(\.[a-z_0-9]+)+\b`)
	variable = regexp.MustCompile(`\bRELAY_[A-Z_]+\b`)
	// kubernetes sets these for a Service called relay; nobody configures with them.
	kubernetes = []string{"RELAY_PORT", "RELAY_SERVICE_HOST"}
)

// Keys, variables and tables are renamed more often than pages are read.
func TestPages_NameKeysVariablesAndTablesThatExist(t *testing.T) {
	known := keys(t)
	variables := slices.Clone(kubernetes)
	for key := range known {
		variables = append(variables, config.EnvName(key))
	}
	database := postgres.NewDatabase(t)
	migrate.ForTest(t, database, "outbox")
	for _, name := range query(t, database, `select 'outbox.' || relname from pg_class where relnamespace = 'outbox'::regnamespace
		union select 'outbox.' || proname from pg_proc where pronamespace = 'outbox'::regnamespace`) {
		known[name] = true
	}
	for _, p := range all(t) {
		if strings.HasPrefix(p.path, "docs/decisions/") || p.path == "CHANGELOG.md" {
			continue // they speak of other times
		}
		for _, fault := range unknownNames(p, known, variables) {
			t.Error(fault)
		}
	}
}

// keys are the paths of all configuration keys and tables.
func keys(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "config.example.toml"))
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := toml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	var walk func(prefix string, table map[string]any)
	walk = func(prefix string, table map[string]any) {
		for name, value := range table {
			known[prefix+name] = true
			if inner, ok := value.(map[string]any); ok {
				walk(prefix+name+".", inner)
			}
		}
	}
	walk("", document)
	if !known["kafka.tls.ca_file"] {
		t.Fatalf("keys were not found: %v", slices.Sorted(maps.Keys(known)))
	}
	return known
}

// unknownNames finds `section.key`, `outbox.table` and RELAY_VARIABLE that are not there.
func unknownNames(p page, known map[string]bool, variables []string) (faults []string) {
	fault := func(line int, name string) {
		faults = append(faults, fmt.Sprintf("%s:%d: there is no %s", p.path, line, name))
	}
	for n, line := range p.prose {
		for _, code := range inline.FindAllStringSubmatch(line, -1) {
			name := dotted.FindString(code[1])
			if section, _, _ := strings.Cut(name, "."); name == "" || !known[section] || fileEnding.MatchString(name) {
				continue
			}
			if !known[name] {
				fault(n+1, name)
			}
		}
		for _, name := range variable.FindAllString(line, -1) {
			if !slices.Contains(variables, strings.TrimSuffix(name, "_")) {
				fault(n+1, name)
			}
		}
	}
	for _, b := range p.blocks {
		for _, name := range variable.FindAllString(b.text, -1) {
			if b.lang != "" && !slices.Contains(variables, name) {
				fault(b.line, name)
			}
		}
	}
	return faults
}

// fileEnding tells outbox.go from outbox.events.
var fileEnding = regexp.MustCompile(`\.(go|sql|md|toml|yml)$`)

func TestUnknownNames_AreFound(t *testing.T) {
	known := map[string]bool{"lease": true, "lease.ttl": true, "outbox": true, "outbox.events": true}
	p := parse("x.md", "`lease.ttl = \"5s\"` `outbox.events` `outbox.Insert` `max.message.bytes` `relay.toml` RELAY_LEASE_TTL\n"+
		"`lease.tll`\n`outbox.evnts`\nRELAY_LEASE_TLL\n")
	got := unknownNames(p, known, []string{"RELAY_LEASE_TTL"})
	want := []string{"x.md:2: there is no lease.tll", "x.md:3: there is no outbox.evnts", "x.md:4: there is no RELAY_LEASE_TLL"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}
