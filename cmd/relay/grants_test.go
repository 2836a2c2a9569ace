package main

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/migrate"
	"github.com/outboxrelay/relay/migrations"
)

// strictDatabase is a database with the outbox, whose owner trusts nobody by default: no right comes from PUBLIC.
func strictDatabase(t *testing.T) (env []string, conn *pgx.Conn) {
	t.Helper()
	env, conn = emptyDatabase(t)
	execute(t, conn, `alter default privileges revoke execute on functions from public`)
	migrate.ForTest(t, conn.Config().ConnString(), "outbox")
	return env, conn
}

// grantedRole makes a role that has what one file of migrations/grants gives and nothing else, and gives the
// environment that leads to the database as that role.
func grantedRole(t *testing.T, conn *pgx.Conn, kind string) (env []string) {
	t.Helper()
	role := "cli_only_" + kind
	newRoles(t, conn, role)
	text, err := fs.ReadFile(migrations.Grants, "grants/"+kind+".sql")
	if err != nil {
		t.Fatal(err)
	}
	execute(t, conn, strings.NewReplacer(`:"schema"`, "outbox", `:"role"`, role).Replace(string(text)))
	c := conn.Config()
	return []string{fmt.Sprintf("RELAY_POSTGRES_URL=host=%s port=%d dbname=%s user=%s sslmode=disable", c.Host, c.Port, c.Database, role)}
}

// parkedCommands are all about parked events.
var parkedCommands = []string{
	"parked list", "parked list --state dead --json", "parked show " + parkedID(1), "parked retry --yes " + parkedID(1),
	"parked retry --yes --topic orders --key 42", "parked retry --all --dry-run", "parked edit " + parkedID(3) + " --topic orders-eu --dry-run",
	"parked edit " + parkedID(3) + " --topic orders-us --no-key --header a=b", "parked edit " + parkedID(3) + " --binary --payload x",
	"parked drop --yes " + parkedID(4), "parked drop --yes --state dead --topic orders",
}

// docs/roles.md and the files' own words say which commands each kind of role can run.
func TestGrants_AreEnoughForTheCommandsThatTheDocsPromise(t *testing.T) {
	kafkaEnv, _ := broker(t, map[string]int32{"orders": 3})
	for kind, commands := range map[string][]string{
		"writer":   {"insert --topic orders --key 42 --type OrderPlaced --header a=b --count 3 {}"},
		"operator": append(parkedCommands, "status", "status --json", "migrate status"),
		"relay": append(parkedCommands, "check", "status", "status --json", "migrate status", "audit", "audit --repair",
			"replay --topic orders --since 1h --dry-run"),
	} {
		t.Run(kind, func(t *testing.T) {
			_, conn := strictDatabase(t)
			execute(t, conn, `insert into outbox.relays (name, epoch, holder, expires_at) values ('main', 7, 'pod-1', now() + interval '1 h')`)
			execute(t, conn, `insert into outbox.events (topic, payload, created_at) values ('orders', '{}', now() - interval '1 min')`)
			parkSome(t, conn)
			env := append(grantedRole(t, conn, kind), kafkaEnv...)
			for _, command := range commands {
				runs(t, env, command)
			}
		})
	}
}

func runs(t *testing.T, env []string, command string) {
	t.Helper()
	if r := runRelay(t, env, strings.Fields(command)...); r.code != exitDone {
		t.Errorf("relay %s: exit code %d\n%s%s", command, r.code, r.out, r.errors)
	}
}

// The daemon, and the commands that are about what it has delivered.
func TestGrants_RelayRunsAndReplays(t *testing.T) {
	kafkaEnv, b := broker(t, map[string]int32{"orders": 3, "again": 1})
	_, conn := strictDatabase(t)
	execute(t, conn, `insert into outbox.events (topic, payload) select 'orders', '{}' from generate_series(1, 3)`)
	env := append(append(grantedRole(t, conn, "relay"), kafkaEnv...), "RELAY_HTTP_LISTEN=")
	startDaemon(t, env)
	settledAll(t, conn)
	runs(t, env, "replay --topic orders --since 1h --to again --yes")
	if got := valuesOf(t, b, "again", 3); len(got) != 3 {
		t.Errorf("%d events were published again", len(got))
	}
	for _, command := range []string{"replay list", "replay resume 1", "audit", "status", "tail orders --from-beginning --limit 3"} {
		runs(t, env, command)
	}
	execute(t, conn, `delete from outbox.events where seq = 2`)
	runs(t, env, "audit --repair")
}
