package main

import (
	"strings"
	"testing"

	"github.com/outboxrelay/relay/internal/migrate"
)

func TestMigrate_UpThenStatus(t *testing.T) {
	env, conn := emptyDatabase(t)
	env = append(env, "RELAY_OUTBOX_SCHEMA=My Outbox")
	newRoles(t, conn, "cli_writer", "cli_relay")
	type status struct {
		Schema     string
		Migrations []migrationReport
	}
	before := decode[status](t, runRelay(t, env, "migrate", "status", "--json").wants(t, exitDone))
	if len(before.Migrations) == 0 || before.Migrations[0].Applied || before.Migrations[0].AppliedAt != nil || before.Schema != "My Outbox" {
		t.Errorf("before: %+v", before)
	}
	if out := runRelay(t, env, "migrate", "status").wants(t, exitDone); !strings.Contains(out, "missing   0001_outbox") {
		t.Error(out)
	}
	out := runRelay(t, env, "migrate", "up", "--grant-writer", "cli_writer", "--grant-relay", "cli_relay").wants(t, exitDone)
	for _, want := range []string{"applied  0001_outbox", "granted  cli_writer may insert events", "granted  cli_relay may run the relay", "is up to date"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in %s", want, out)
		}
	}
	if out := runRelay(t, env, "migrate", "up").wants(t, exitDone); !strings.Contains(out, "0 migrations applied") {
		t.Error(out)
	}
	after := decode[status](t, runRelay(t, env, "migrate", "status", "--json").wants(t, exitDone))
	if !after.Migrations[0].Applied || after.Migrations[0].AppliedAt == nil {
		t.Errorf("after: %+v", after)
	}
	r := runRelay(t, env, "migrate", "up", "--grant-writer", "nobody_of_that_name")
	r.wants(t, exitFailed)
	if !strings.Contains(r.errors, "create role") {
		t.Error(r.errors)
	}
}

func TestMigrateSQL_CanBeAppliedByOtherMeans(t *testing.T) {
	env, conn := emptyDatabase(t)
	script := runRelay(t, []string{"RELAY_OUTBOX_SCHEMA=by hand"}, "migrate", "sql").wants(t, exitDone)
	for range 2 {
		execute(t, conn, script)
	}
	env = append(env, "RELAY_OUTBOX_SCHEMA=by hand")
	steps, err := migrate.Status(t.Context(), conn.Config().ConnString(), "by hand")
	if err != nil || !steps[0].Applied {
		t.Errorf("%+v: %v", steps, err)
	}
	if out := runRelay(t, env, "migrate", "up").wants(t, exitDone); !strings.Contains(out, "0 migrations applied") {
		t.Error(out)
	}
}
