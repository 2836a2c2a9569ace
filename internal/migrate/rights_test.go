package migrate

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/migrations"
)

// Each right that the file gives is missed when it is taken away, and no other.
func TestMissingRelayRights_NamesEachThatIsTakenAway(t *testing.T) {
	url := postgres.NewDatabase(t)
	exec(t, connect(t, url), `alter default privileges revoke execute on functions from public`)
	ForTest(t, url, weird)
	owner := connect(t, url)
	role, address := newRole(t, url, "relay")
	poor := connect(t, address)
	missing := func() []string {
		t.Helper()
		list, err := MissingRelayRights(t.Context(), poor, weird)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	text, err := fs.ReadFile(migrations.Grants, "grants/relay.sql")
	if err != nil {
		t.Fatal(err)
	}
	all, err := rights(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := missing(); len(got) != len(all) || len(all) < 40 {
		t.Errorf("without any right %d of %d are missing: %s", len(got), len(all), got)
	}
	if err := GrantRelay(t.Context(), url, weird, role); err != nil {
		t.Fatal(err)
	}
	if got := missing(); len(got) > 0 {
		t.Errorf("with all rights: %s", got)
	}
	for _, r := range all {
		on := map[string]string{"schema": "schema ", "function": "function ", "relation": ""}[r.kind] + quote(weird)
		if r.object != "" {
			on += "." + quote(r.object)
		}
		exec(t, owner, fmt.Sprintf(`revoke %s on %s from %s`, r.privilege, on, quote(role)))
		if got := missing(); !slices.Contains(got, r.String()) || r.kind != "schema" && len(got) != 1 {
			t.Errorf("without %s: %s", r, got)
		}
		exec(t, owner, fmt.Sprintf(`grant %s on %s to %s`, r.privilege, on, quote(role)))
	}
}

// A statement that is not read would be a right that nobody misses.
func TestRights_ReadsAllFilesAndRefusesOtherForms(t *testing.T) {
	files, err := fs.Glob(migrations.Grants, "grants/*.sql")
	if err != nil || len(files) != 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := fs.ReadFile(migrations.Grants, file)
		if err != nil {
			t.Fatal(err)
		}
		if all, err := rights(string(text)); err != nil || len(all) < 3 {
			t.Errorf("%s: %d rights, %v", file, len(all), err)
		}
	}
	got, err := rights(`grant delete, update (a, b) on :"schema".parked to :"role"; -- why
		grant usage on sequence :"schema".s to :"role"; grant execute on function :"schema".f(regclass), :"schema".g to :"role"`)
	if text := strings.Trim(fmt.Sprint(got), "[]"); err != nil ||
		text != "DELETE on parked UPDATE (a) on parked UPDATE (b) on parked USAGE on s EXECUTE on f EXECUTE on g" {
		t.Errorf("%s, %v", text, err)
	}
	for _, other := range []string{`grant all on all tables in schema :"schema" to :"role"`, `grant relay to :"role"`,
		`alter default privileges grant select on tables to :"role"`, `grant select (a on :"schema".t to :"role"`} {
		if got, err := rights(other); err == nil {
			t.Errorf("%s was read as %s", other, got)
		}
	}
}
