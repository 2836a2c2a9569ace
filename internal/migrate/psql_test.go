package migrate

import (
	"fmt"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/migrations"
)

// psql runs files as people do who have nothing but psql, and stops at the first error.
func psql(t *testing.T, url, schema string, files ...string) error {
	t.Helper()
	program, err := osexec.LookPath("psql")
	if err != nil {
		t.Fatal("this test needs psql (Debian: apt-get install postgresql-client)")
	}
	for _, file := range files {
		command := osexec.CommandContext(t.Context(), program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", file)
		escaped := strings.NewReplacer(`\`, `\\`, ` `, `\ `).Replace(quote(schema))
		command.Env = append(os.Environ(), "PGOPTIONS=-c client_min_messages=warning -c search_path="+escaped)
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("psql -f %s: %w\n%s", filepath.Base(file), err, out)
		}
	}
	return nil
}

// onDisk writes the files to a folder and returns their paths in order.
func onDisk(t *testing.T, files fs.FS) []string {
	t.Helper()
	folder := t.TempDir()
	var paths []string
	for _, name := range fileNames(files) {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, filepath.Join(folder, name))
		if err := os.WriteFile(paths[len(paths)-1], data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

func TestPsql_AndUpMakeTheSame(t *testing.T) {
	url := postgres.NewDatabase(t)
	conn := connect(t, url)
	paths := onDisk(t, migrations.FS)
	if _, err := Up(t.Context(), url, "by up", nil); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `create schema "by psql"; create schema "by sql"`)
	if err := psql(t, url, "by psql", paths...); err != nil {
		t.Fatal(err)
	}
	all := filepath.Join(t.TempDir(), "all.sql")
	if err := os.WriteFile(all, []byte(SQL()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := psql(t, url, "by sql", all); err != nil {
		t.Fatal(err)
	}
	want := text(t, conn, tables, "by up")
	for _, schema := range []string{"by psql", "by sql"} {
		if got := text(t, conn, tables, schema); got != want {
			t.Errorf("%s:\n%s\nby up:\n%s", schema, got, want)
		}
		steps, err := Status(t.Context(), url, schema)
		if err != nil || !steps[len(steps)-1].Applied || steps[0].Changed {
			t.Errorf("%s is not on record: %+v, %v", schema, steps, err)
		}
		if applied, err := Up(t.Context(), url, schema, nil); err != nil || len(applied) != 0 {
			t.Errorf("up after %s: %v, %v", schema, applied, err)
		}
	}
	// And the reverse: psql over what up made.
	if err := psql(t, url, "by up", paths...); err != nil {
		t.Errorf("psql after up: %v", err)
	}
}

// A schema on any earlier step is brought up to date by running all files, and running them once more does not take
// back what later ones changed.
func TestPsql_BringsAnOlderSchemaUp(t *testing.T) {
	url := postgres.NewDatabase(t)
	conn := connect(t, url)
	newer := withNext(t)
	paths := onDisk(t, newer)
	ForTest(t, url, "outbox") // as an older release left it
	exec(t, conn, `insert into outbox.events (topic, payload) values ('t', '{"kept": true}')`)
	for round := range 2 {
		if err := psql(t, url, "outbox", paths...); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if era := text(t, conn, `select era from outbox.lag`); era != "new" {
			t.Fatalf("round %d: lag is %s", round, era)
		}
	}
	// The first file alone, run by mistake, takes nothing back.
	if err := psql(t, url, "outbox", paths[0]); err != nil {
		t.Fatal(err)
	}
	if era := text(t, conn, `select era from outbox.lag`); era != "new" {
		t.Errorf("running 0001 again took 9000 back")
	}
	if kept := text(t, conn, `select payload::text from outbox.events`); kept != `{"kept": true}` {
		t.Errorf("the event became %s", kept)
	}
	if applied, err := up(t.Context(), newer, url, "outbox", nil); err != nil || len(applied) != 0 {
		t.Errorf("up afterwards: %v, %v", applied, err)
	}
}

// Run again, the files wait for no writer, so no writer waits behind them.
func TestPsql_AgainWaitsForNoWriter(t *testing.T) {
	url := postgres.NewDatabase(t)
	ForTest(t, url, "outbox")
	writer := connect(t, url)
	exec(t, writer, `begin; insert into outbox.events (topic, payload) values ('t', '{}'); insert into outbox.inbox values ('c', 'm')`)
	config := url + "&lock_timeout=1"
	if !strings.Contains(url, "?") {
		config = url + "?lock_timeout=1"
	}
	conn := connect(t, config)
	exec(t, conn, `set search_path to outbox; `+SQL())
	exec(t, writer, `rollback`)
}

func TestFiles_RecordThemselvesAndGoForwardOnly(t *testing.T) {
	for _, name := range fileNames(migrations.FS) {
		data, err := fs.ReadFile(migrations.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		var version int
		if _, err := fmt.Sscanf(name, "%04d_", &version); err != nil {
			t.Errorf("%s: the name does not begin with four digits", name)
		}
		want := fmt.Sprintf("insert into relay_migrations (version) values (%d) on conflict do nothing;", version)
		body := strings.TrimSpace(string(data))
		if !strings.HasSuffix(body, want) {
			t.Errorf("%s does not end with: %s", name, want)
		}
		for _, banned := range []string{"+goose Down", "create or replace view", "index if not exists", "concurrently", "outbox."} {
			if strings.Contains(stripComments(body), banned) || banned == "+goose Down" && strings.Contains(body, banned) {
				t.Errorf("%s contains %q", name, banned)
			}
		}
	}
}

func stripComments(sql string) string {
	var kept []string
	for line := range strings.Lines(sql) {
		code, _, _ := strings.Cut(line, "--")
		kept = append(kept, code)
	}
	return strings.Join(kept, "")
}
