package migrate

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/migrations"
)

const weird = `we"ird Schema`

// newRole makes a role that may log in and nothing else, and returns its name and its URL.
func newRole(t *testing.T, url, name string) (role, address string) {
	t.Helper()
	conn := connect(t, url)
	role = fmt.Sprintf("%s of %s", name, text(t, conn, `select current_database()`))
	exec(t, conn, "create role "+quote(role)+" login")
	t.Cleanup(func() { dropRole(t, url, role) })
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return role, fmt.Sprintf("host=%s port=%d user='%s' dbname=%s sslmode=disable", config.Host, config.Port, role, config.Database)
}

// Each statement runs in a transaction of its own, which is rolled back. The schema is search_path.
type permission struct {
	sql  string
	may  bool
	args []any
}

func checkPermissions(t *testing.T, address, schema string, list []permission) {
	t.Helper()
	conn := connect(t, address)
	exec(t, conn, "set search_path to "+quote(schema))
	for _, p := range list {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = tx.Exec(t.Context(), p.sql, p.args...)
		switch {
		case p.may && err != nil:
			t.Errorf("may not, but should: %s: %v", p.sql, err)
		case !p.may && sqlState(err) != "42501":
			t.Errorf("may, but should not: %s: %v", p.sql, err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func writerMay() []permission {
	list := []permission{
		{sql: `insert into events (topic, key, payload) values ('orders', '42', '{}')`, may: true},
		{sql: `insert into events (id, topic, key, type, payload, payload_bytes, headers, partition, deliver_at)
			values (gen_random_uuid(), 'orders', '42', 'OrderPlaced', null, '\x00', '{"a": "b"}', 3, now())`, may: true},
		{sql: `insert into events (topic, payload) select 'orders', '{}' from generate_series(1, 3)`, may: true},
		{sql: `insert into events (topic, payload) values ($1, $2)`, args: []any{"orders", "{}"}, may: true},
		{sql: `copy events (topic, payload) from program 'true'`}, // a superuser's, not ours
		{sql: `insert into events (topic, payload) values ('orders', '{}') returning id`},
		{sql: `insert into events (topic, payload) values ('orders', '{}') on conflict do nothing`, may: true},
		{sql: `select id from events`},
		{sql: `select count(*) from events`},
		{sql: `select from delivery`},
		{sql: `select from lag`},
		{sql: `select last_value from events_seq`},
		{sql: `select setval('events_seq', 1)`},
		{sql: `update events set topic = 'x'`},
		{sql: `delete from events`},
		{sql: `truncate events`},
		{sql: `insert into events_0 (topic, payload) values ('orders', '{}')`},
		{sql: `create table mine (a int)`},
		{sql: `select from public.customers`},
		{sql: `select pg_read_file('PG_VERSION')`},
		{sql: `set session authorization postgres`},
		{sql: `create role mine`},
		{sql: `create trigger mine before insert on events for each row execute function suppress_redundant_updates_trigger()`},
		{sql: `alter table events disable trigger all`},
	}
	for _, ours := range []string{"xid", "seq", "slot", "created_at"} {
		list = append(list, permission{sql: fmt.Sprintf(`insert into events (topic, payload, %s) values ('orders', '{}', default)`, ours)})
	}
	for _, table := range []string{"relays", "parked", "slots", "inbox", "operations", "relay_migrations"} {
		list = append(list, permission{sql: "select from " + table}, permission{sql: "delete from " + table},
			permission{sql: "insert into " + table + " default values"})
	}
	return list
}

func TestGrantWriter_GivesInsertOfTheApplicationsColumnsAndNoMore(t *testing.T) {
	url := postgres.NewDatabase(t)
	// A database whose owner trusts nobody by default: the grants may not lean on PUBLIC.
	exec(t, connect(t, url), `alter default privileges revoke execute on functions from public`)
	ForTest(t, url, weird)
	exec(t, connect(t, url), `create table public.customers (id int)`)
	role, address := newRole(t, url, `wri"ter`)
	checkPermissions(t, address, weird, []permission{{sql: `insert into ` + quote(weird) + `.events (topic, payload) values ('orders', '{}')`}})
	for range 2 { // safe to run again
		if err := GrantWriter(t.Context(), url, weird, role); err != nil {
			t.Fatal(err)
		}
	}
	checkPermissions(t, address, weird, writerMay())
}

func TestGrantWriter_PreparedInsertAndCopy(t *testing.T) {
	url := postgres.NewDatabase(t)
	ForTest(t, url, "outbox")
	role, address := newRole(t, url, "writer")
	if err := GrantWriter(t.Context(), url, "outbox", role); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, address)
	exec(t, conn, `prepare event(text, json) as insert into outbox.events (topic, payload) values ($1, $2)`)
	exec(t, conn, `execute event('orders', '{}')`)
	if _, err := conn.CopyFrom(t.Context(), pgx.Identifier{"outbox", "events"}, []string{"topic", "key", "payload"},
		pgx.CopyFromRows([][]any{{"orders", "1", "{}"}, {"orders", "2", "{}"}})); err != nil {
		t.Errorf("copy by pgx: %v", err)
	}
	copied, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader("orders\t1\t{}\norders\t2\t{}\n"), `copy outbox.events (topic, key, payload) from stdin`)
	if err != nil || copied.RowsAffected() != 2 {
		t.Errorf("copy: %v, %v", copied, err)
	}
	if rows := text(t, connect(t, url), `select count(*) || ' ' || count(distinct seq) || ' ' || count(distinct xid) from outbox.events`); rows != "5 5 3" {
		t.Errorf("rows, seqs, xids: %s", rows)
	}
}

func TestGrantRelay_GivesWhatRunningNeedsAndNoMore(t *testing.T) {
	url := postgres.NewDatabase(t)
	// Nothing may lean on PUBLIC here either.
	exec(t, connect(t, url), `alter default privileges revoke execute on functions from public`)
	ForTest(t, url, weird)
	exec(t, connect(t, url), `create table public.customers (id int)`)
	role, address := newRole(t, url, "relay")
	if err := GrantRelay(t.Context(), url, weird, role); err != nil {
		t.Fatal(err)
	}
	list := []permission{
		{sql: `select * from events`, may: true},
		{sql: `select * from events_3`, may: true},
		{sql: `select last_value, is_called from events_seq`, may: true},
		{sql: `select pg_sequence_last_value('events_seq')`, may: true},
		{sql: `select system_identifier from pg_control_system()`, may: true},
		{sql: `select timeline_id from pg_control_checkpoint()`, may: true},
		{sql: `insert into relays (name) values ('main') on conflict do nothing`, may: true},
		{sql: `update relays set epoch = epoch + 1`, may: true},
		{sql: `insert into slots (name, slot) values ('main', 1) on conflict (name, slot) do update set settled_rows = 1`, may: true},
		{sql: `insert into parked (name, seq, state, id, topic, created_at) values ('main', 1, 'dead', gen_random_uuid(), 't', now()) returning parked_no`, may: true},
		{sql: `update parked set attempts = 1`, may: true},
		{sql: `delete from parked where seq = 1`, may: true},
		{sql: `select max(op_no) from operations`, may: true},
		{sql: `select parked_retry_where(everything => true)`, may: true},
		{sql: `insert into operations (verb, events) values ('retry', 1)`, may: true},
		{sql: `select * from delivery`, may: true},
		{sql: `select * from lag`, may: true},
		{sql: `select * from relay_migrations`, may: true},
		{sql: `delete from inbox where received_at < now()`, may: true},
		{sql: `truncate events_3`, may: true},
		{sql: `lock table events_3 in access exclusive mode`, may: true},
		{sql: `select pg_try_advisory_lock(7090210, 1)`, may: true},
		{sql: `listen outbox_1`, may: true},

		{sql: `select from public.customers`},
		{sql: `insert into public.customers values (1)`},
		{sql: `copy public.customers to program 'true'`},
		{sql: `select pg_read_file('PG_VERSION')`},
		{sql: `set session authorization postgres`},
		{sql: `create role mine`},
		{sql: `create function mine() returns int language sql as 'select 1'`},
		{sql: `create trigger mine before insert on relays for each row execute function suppress_redundant_updates_trigger()`},
		{sql: `insert into events (topic, payload) values ('orders', '{}')`},
		{sql: `update events set topic = 'x'`},
		{sql: `delete from events`},
		{sql: `delete from events_3`},
		{sql: `truncate events`},
		{sql: `truncate events_3, inbox`},
		{sql: `delete from relays`},
		{sql: `delete from slots`},
		{sql: `update operations set who = 'somebody else'`},
		{sql: `delete from operations`},
		{sql: `insert into inbox (consumer, message_id) values ('c', 'm')`},
		{sql: `insert into relay_migrations (version) values (9)`},
		{sql: `select setval('events_seq', 1)`},
		{sql: `create table mine (a int)`},
		{sql: `drop table events_3`},
		{sql: `alter table events detach partition events_3`},
	}
	checkPermissions(t, address, weird, list)
	if steps, err := Status(t.Context(), address, weird); err != nil || !steps[0].Applied {
		t.Errorf("the relay's role reads the migrations' status: %+v, %v", steps, err)
	}
}

func TestGrant_SaysWhatToDoFirst(t *testing.T) {
	url := postgres.NewDatabase(t)
	role, address := newRole(t, url, "other")
	if err := GrantWriter(t.Context(), url, "outbox", role); err == nil || !strings.Contains(err.Error(), "relay migrate up") {
		t.Errorf("no schema: %v", err)
	}
	ForTest(t, url, "outbox")
	if err := GrantRelay(t.Context(), url, "outbox", "no such"); err == nil || !strings.Contains(err.Error(), `create role "no such" login`) {
		t.Errorf("no role: %v", err)
	}
	if err := GrantRelay(t.Context(), url, "outbox", ""); err == nil {
		t.Error("a role without a name was taken")
	}
	if err := GrantWriter(t.Context(), address, "outbox", role); err == nil || !strings.Contains(err.Error(), `owner "postgres"`) {
		t.Errorf("not the owner: %v", err)
	}
	if owned := text(t, connect(t, url), `select count(*)::text from information_schema.role_table_grants where grantee = $1`, role); owned != "0" {
		t.Errorf("a refused grant left %s rights", owned)
	}
}

// The files under migrations/grants are also run by psql, with its own way of quoting.
func TestGrants_ByPsqlGiveTheSame(t *testing.T) {
	program, err := osexec.LookPath("psql")
	if err != nil {
		t.Fatal("this test needs psql (Debian: apt-get install postgresql-client)")
	}
	url := postgres.NewDatabase(t)
	ForTest(t, url, weird)
	role, address := newRole(t, url, "psql")
	for _, kind := range []string{"writer", "consumer"} {
		data, err := fs.ReadFile(migrations.Grants, "grants/"+kind+".sql")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), kind+".sql")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		command := osexec.CommandContext(t.Context(), program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "schema="+weird, "-v", "role="+role, "-d", url, "-f", file)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", kind, err, out)
		}
	}
	checkPermissions(t, address, weird, []permission{
		{sql: `insert into events (topic, payload) values ('orders', '{}')`, may: true},
		{sql: `insert into events (topic, payload, slot) values ('orders', '{}', 1)`},
		{sql: `insert into inbox (consumer, message_id) values ('c', 'm') on conflict do nothing`, may: true},
		{sql: `insert into inbox (consumer, message_id) values ('c', 'm') on conflict (consumer, message_id) do nothing returning message_id`, may: true},
		{sql: `delete from inbox`},
	})
}

func TestUp_RefusesAStandby(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "pg")
	server, err := postgres.Start(t.Context(), postgres.Options{Dir: folder, Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	if _, err := Up(t.Context(), server.URL("postgres"), "outbox", nil); err != nil {
		t.Fatal(err)
	}
	// A server with this file starts in recovery, and without anybody to follow it stays there.
	if err := os.WriteFile(filepath.Join(text(t, connect(t, server.URL("postgres")), `show data_directory`), "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := server.Restart(ctx, "fast"); err != nil {
		t.Fatal(err)
	}
	if _, err := Up(ctx, server.URL("postgres"), "outbox", nil); err == nil || !strings.Contains(err.Error(), "standby in recovery") {
		t.Errorf("up on a standby: %v", err)
	}
	if steps, err := Status(ctx, server.URL("postgres"), "outbox"); err != nil || !steps[0].Applied {
		t.Errorf("status on a standby: %+v, %v", steps, err)
	}
}

// docs/roles.md shows the grants in full, for a schema and roles of its own; they are the files' text.
func TestRolesPage_ShowsTheGrants(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "roles.md"))
	if err != nil {
		t.Fatal(err)
	}
	for kind, role := range map[string]string{"writer": "shop", "relay": "relay", "consumer": "billing", "operator": "alice"} {
		text, err := fs.ReadFile(migrations.Grants, "grants/"+kind+".sql")
		if err != nil {
			t.Fatal(err)
		}
		shown := strings.TrimSpace(strings.NewReplacer(`:"schema"`, "outbox", `:"role"`, role).Replace(stripComments(string(text))))
		if !strings.Contains(string(page), shown) {
			t.Errorf("docs/roles.md does not show the grants of a %s:\n%s", kind, shown)
		}
	}
}
