package node

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/gobuild"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

// What `relay schema --for TOOL` writes is applied by the tool itself, beside a migration of the application. Then the
// tool is asked what it would change, and made to change it: nothing of that may touch the outbox. Each tool's part is
// packages/schema/test/TOOL.test.js.
func TestSchema_LivesBesideTheToolsOwnMigrations(t *testing.T) {
	if testing.Short() {
		t.Skip("npm and real migration tools: not with -short")
	}
	if !installed(t) {
		npm(t, "ci")
	}
	npm(t, "run build --workspace @outboxrelay/core")
	relay := filepath.Join(t.TempDir(), "relay")
	if err := gobuild.Relay(t.Context(), relay); err != nil {
		t.Fatal(err)
	}
	whole := postgres.NewDatabase(t)
	migrate.ForTest(t, whole, "outbox")
	want := outboxOf(t, whole)

	for _, tool := range []string{"typeorm", "prisma", "drizzle", "knex", "mikro"} {
		t.Run(tool, func(t *testing.T) {
			url := postgres.NewDatabase(t)
			folder, err := filepath.Abs(filepath.Join("packages", "schema", ".generated", tool))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(folder); err != nil {
				t.Fatal(err)
			}
			run := func(program string, args ...string) string {
				cmd := exec.CommandContext(t.Context(), program, args...)
				cmd.Env = append(os.Environ(), "DATABASE_URL="+url, "RELAY_POSTGRES_URL="+url, "RELAY="+relay, "FOLDER="+folder, "NO_COLOR=1")
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
				cmd.WaitDelay = 10 * time.Second
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
				}
				return string(out)
			}
			run(relay, "schema", "--for", tool, "--out", folder)
			run("node", "--test", "--test-timeout=120000", filepath.Join("packages", "schema", "test", tool+".test.js"))

			if got := outboxOf(t, url); got != want {
				t.Errorf("the outbox is not what it should be:\n%s\nwant:\n%s", got, want)
			}
			var status struct {
				Migrations []struct{ Applied bool }
			}
			if err := json.Unmarshal([]byte(run(relay, "migrate", "status", "--json")), &status); err != nil {
				t.Fatal(err)
			}
			if len(status.Migrations) < 5 {
				t.Errorf("status knows %d migrations", len(status.Migrations))
			}
			for i, m := range status.Migrations {
				if !m.Applied {
					t.Errorf("migration %d is not on record", i+1)
				}
			}
			if out := run(relay, "migrate", "up"); !strings.Contains(out, "0 migrations applied") {
				t.Errorf("up afterwards: %s", out)
			}
			if got := query(t, url, `select string_agg(type || ' ' || coalesce(payload::text, ''), ', ' order by seq) from outbox.events`); !strings.HasPrefix(got, `Emitted {"by":"emit"}`) {
				t.Errorf("events: %s", got)
			}
		})
	}
}

// outboxOf is everything in the schema, as pg_dump describes it. Rights are left out: each database has its own roles.
func outboxOf(t *testing.T, url string) string {
	t.Helper()
	binaries, err := postgres.FindBinaries()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(binaries, "pg_dump"), "--schema-only", "--no-privileges", "--schema=outbox", url).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	var kept []string
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, `\`) { // \restrict has a random word
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func query(t *testing.T, url, sql string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), sql).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}
