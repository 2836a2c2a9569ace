package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outboxrelay/relay/internal/toolschema"
)

func TestSchema_WrongUsageNamesTheChoices(t *testing.T) {
	const choices = "typeorm, prisma, drizzle, knex, mikro, sql"
	for _, test := range []struct{ args, want string }{
		{"schema", "relay: say for which tool: --for " + choices},
		{"schema --for sequelize", `relay: --for "sequelize": there are ` + choices + "\nSee `relay schema --help`."},
		{"schema --for knex --model", "relay: --model: there is none for knex"},
		{"schema --for sql --json --model", "exclude each other"},
		{"schema --for sql --json --out .", "exclude each other"},
	} {
		r := runRelay(t, nil, strings.Fields(test.args)...)
		r.wants(t, exitUsage)
		if !strings.Contains(r.errors, test.want) || r.out != "" {
			t.Errorf("%s: %q and %q, want %q", test.args, r.errors, r.out, test.want)
		}
	}
	if out := runRelay(t, nil, "__complete", "schema", "--for", "").wants(t, exitDone); !strings.HasPrefix(out, strings.ReplaceAll(choices, ", ", "\n")+"\n:4") {
		t.Errorf("completion: %s", out)
	}
}

// The tool's own tables have names without a schema: search_path has to be theirs again afterwards, in a transaction and
// without one.
func TestSchemaForSQL_CanBeAppliedByAnything(t *testing.T) {
	const name = "it's \"our\" ${outbox}\\`?"
	schema := []string{"RELAY_OUTBOX_SCHEMA=" + name}
	script := runRelay(t, schema, "schema", "--for", "sql").wants(t, exitDone)
	for _, wrap := range [][2]string{{"", ""}, {"begin;", ";commit"}} {
		env, conn := emptyDatabase(t)
		env = append(env, schema...)
		execute(t, conn, `create schema app; set search_path to app, public`)
		for range 2 { // safe to run again
			execute(t, conn, wrap[0]+script+wrap[1])
		}
		var path string
		if err := conn.QueryRow(t.Context(), "show search_path").Scan(&path); err != nil || path != "app, public" {
			t.Errorf("search_path is %s, %v", path, err)
		}
		if out := runRelay(t, env, "migrate", "up").wants(t, exitDone); !strings.Contains(out, "0 migrations applied") {
			t.Error(out)
		}
	}
	// A migration that fails afterwards takes the schema and the setting with it.
	_, conn := emptyDatabase(t)
	if _, err := conn.Exec(t.Context(), "begin;"+script+";select 1/0"); err == nil {
		t.Fatal("it did not fail")
	}
	execute(t, conn, "rollback")
	var path string
	var there bool
	err := conn.QueryRow(t.Context(), "select current_setting('search_path'), exists (select from pg_namespace where nspname = $1)", name).Scan(&path, &there)
	if err != nil || path != `"$user", public` || there {
		t.Errorf("search_path %s, schema is there: %v, %v", path, there, err)
	}
}

func TestSchema_OutWritesNothingOver(t *testing.T) {
	folder := t.TempDir()
	out := runRelay(t, nil, "schema", "--for", "drizzle", "--out", folder).wants(t, exitDone)
	if strings.Count(out, "wrote  ") != 2 {
		t.Fatal(out)
	}
	model := filepath.Join(folder, "outbox-event.table.ts")
	migrations, err := filepath.Glob(filepath.Join(folder, "drizzle", "*.sql"))
	if err != nil || len(migrations) != 1 {
		t.Fatal(migrations, err)
	}
	migration := migrations[0]
	if out := runRelay(t, nil, "schema", "--for", "drizzle", "--out", folder).wants(t, exitDone); strings.Count(out, "kept  ") != 2 {
		t.Error(out)
	}
	for _, path := range []string{migration, model} {
		if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := runRelay(t, nil, "schema", "--for", "drizzle", "--out", folder)
	r.wants(t, exitFailed)
	if !strings.Contains(r.errors, migration+" is there already and differs: move it away") {
		t.Error(r.errors)
	}
	if err := os.Remove(migration); err != nil {
		t.Fatal(err)
	}
	if out := runRelay(t, nil, "schema", "--for", "drizzle", "--out", folder).wants(t, exitDone); !strings.Contains(out, "kept  "+model+", which differs") {
		t.Error(out)
	}
	if text, err := os.ReadFile(model); err != nil || string(text) != "mine" {
		t.Errorf("%s, %v", text, err)
	}
}

func TestSchema_JSONHasWhatIsPrinted(t *testing.T) {
	for _, tool := range toolschema.Tools() {
		report := decode[schemaReport](t, runRelay(t, nil, "schema", "--for", tool, "--json").wants(t, exitDone))
		if report.Tool != tool || report.Schema != "outbox" || report.Newest == "" || report.Files[0].Kind != "migration" {
			t.Errorf("%+v", report)
		}
		if len(report.Files) > 1 {
			if printed := runRelay(t, nil, "schema", "--for", tool, "--model").wants(t, exitDone); printed != report.Files[1].Text {
				t.Errorf("%s: %s", tool, printed)
			}
		}
	}
}
