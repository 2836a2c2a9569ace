package adopt

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

// A statement fires the triggers of the table that it names and of no other, so each partition has one.
func TestInstall_PartitionedTable(t *testing.T) {
	conn := newDatabase(t, `create table p (id bigserial, k text, region text, body json) partition by list (region);
		create table p_eu partition of p for values in ('eu') partition by list (k);
		create table p_eu_any partition of p_eu default; create table p_us partition of p for values in ('us')`)
	fields := []string{"topic='t'", "key=k", "payload=body"}
	install(t, conn, "p", "", fields...)
	exec(t, conn, `insert into p (k, region) values ('1', 'eu'), ('2', 'us'), ('3', 'eu')`)
	exec(t, conn, `insert into p_eu (k, region) values ('4', 'eu')`)
	exec(t, conn, `insert into p_eu_any (k, region) values ('5', 'eu')`)
	exec(t, conn, `insert into p_us (k, region) values ('6', 'us')`)
	// COPY buffers the rows of each partition by itself; the identity says which was first.
	var rows [][]any
	want := "1 2 3 4 5 6"
	for n := 7; n < 3000; n++ {
		rows = append(rows, []any{fmt.Sprint(n), []string{"eu", "us"}[n%2]})
		want += fmt.Sprint(" ", n)
	}
	if _, err := conn.CopyFrom(t.Context(), pgx.Identifier{"p"}, []string{"k", "region"}, pgx.CopyFromRows(rows)); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, conn); got != want {
		t.Errorf("events %.200s…, want %.200s…", got, want)
	}

	faults := func() (problems []string) {
		t.Helper()
		tables, found, err := Adopted(t.Context(), conn, "outbox")
		if err != nil || !slices.Equal(tables, []string{"public.p"}) {
			t.Fatal(tables, err)
		}
		for _, f := range found {
			problems = append(problems, fmt.Sprint(f.Problem, " ", f.Loses))
		}
		return problems
	}
	if got := faults(); got != nil {
		t.Errorf("faults of a sound adoption: %q", got)
	}
	exec(t, conn, `create table p_asia partition of p for values in ('asia'); alter table p_us disable trigger all`)
	if got := faults(); len(got) != 2 || !strings.HasPrefix(got[0], "has no trigger on p_asia") || !strings.HasSuffix(got[0], "false") ||
		!strings.HasPrefix(got[1], "has its trigger disabled on p_us") || !strings.HasSuffix(got[1], "true") {
		t.Errorf("faults %q", got)
	}
	p := planned(t, conn, "p", "", fields...)
	repaired, err := adopter(t, conn).Repair(t.Context(), p, found(t, conn, p.Source.Name))
	if err != nil || !slices.Equal(repaired, []string{"public.p_us", "public.p_asia"}) {
		t.Errorf("repaired %v, %v", repaired, err)
	}
	if got := faults(); got != nil {
		t.Errorf("faults after the repair: %q", got)
	}
	exec(t, conn, `insert into p_asia (k, region) values ('7000', 'asia'); insert into p_us (k, region) values ('7001', 'us')`)
	if got := keys(t, conn); got != want+" 7000 7001" {
		t.Errorf("…%s", got[len(got)-30:])
	}
	exec(t, conn, `drop trigger relay_adopt on p`)
	if got := faults(); len(got) != 1 || !strings.HasSuffix(got[0], "true") {
		t.Errorf("without the table's own trigger: %q", got)
	}
	exec(t, conn, `alter table p detach partition p_asia`)
	if got := faults(); len(got) != 2 || !strings.HasPrefix(got[1], "has its trigger on p_asia too") {
		t.Errorf("with one that is no partition any more: %q", got)
	}
	exec(t, conn, `drop table p cascade`)
	if got := faults(); len(got) != 1 || !strings.HasPrefix(got[0], "is gone") {
		t.Errorf("after drop table: %q", got)
	}
	if _, err := adopter(t, conn).Remove(t.Context(), "outbox", former(t, conn, "public.p"), false); err != nil {
		t.Error(err)
	}
	if former(t, conn, "public.p") != nil {
		t.Error("still on record")
	}
}

// Rows of one statement: by the column of order where there is one, otherwise as they came.
func TestInstall_OrderWithinAStatement(t *testing.T) {
	conn := newDatabase(t, `create table m (k text, at integer)`)
	exec(t, conn, `set max_parallel_workers_per_gather = 0`)
	insert := `insert into m select n::text, -n from generate_series(1, 2000) n`
	want := func(from, to, step int) string {
		var all []string
		for n := from; n != to+step; n += step {
			all = append(all, fmt.Sprint(n))
		}
		return strings.Join(all, " ")
	}
	install(t, conn, "m", "", "topic='t'", "key=k", "payload=k")
	exec(t, conn, insert)
	if got := keys(t, conn); got != want(1, 2000, 1) {
		t.Errorf("as they came: %.100s…", got)
	}
	p := planned(t, conn, "m", "at", "topic='t'", "key=k", "payload=k")
	a := found(t, conn, "m")
	differences, _, err := a.Differences(t.Context(), conn, p)
	if err != nil || !slices.Equal(differences, []string{"order: by arrival, not by at"}) {
		t.Errorf("%q, %v", differences, err)
	}
	if err := adopter(t, conn).Replace(t.Context(), p, a); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `truncate outbox.events; `+insert)
	if got := keys(t, conn); got != want(2000, 1, -1) {
		t.Errorf("by at: %.100s…", got)
	}
}

// The application's role has no right on the outbox, policies hide its rows, and its settings are hostile.
func TestInstall_NeedsNoRightsOfTheWriter(t *testing.T) {
	conn := newDatabase(t, debezium("text")+`; alter table outboxevent add at timestamptz not null default '2030-01-01 00:00+00';
		alter table outboxevent enable row level security; alter table outboxevent force row level security;
		create policy own on outboxevent for insert with check (true)`)
	role := text(t, conn, `select 'app_' || md5(random()::text)`)
	exec(t, conn, `create role `+role+` login; grant insert on outboxevent to `+role)
	t.Cleanup(func() { clean(t, conn, `drop owned by `+role+`; drop role `+role) })
	install(t, conn, "outboxevent", "", "debezium", "header.at=at")
	config := conn.Config().Copy()
	config.User = role
	writer, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close(t.Context())
	exec(t, conn, `create schema evil; grant usage on schema evil to `+role+`;
		create function evil.convert_to(text, name) returns bytea language sql as $$ select '\x00'::bytea $$;
		create function evil.length(text) returns int language sql as $$ select 1000 $$`)
	exec(t, writer, `set search_path = evil, public, pg_catalog; set timezone = 'Asia/Tokyo'; set datestyle = 'German'`)
	exec(t, writer, `insert into public.outboxevent (aggregatetype, aggregateid, type, payload) values ('order', 'k', 'T', 'x')`)
	if got := text(t, conn, `select concat_ws(' ', key, convert_from(payload_bytes, 'UTF8'), headers) from outbox.events`); got != `k x { "at" : "2030-01-01 00:00:00+00" }` {
		t.Errorf("the event is %s", got)
	}
	for _, forbidden := range []string{`select from outbox.events`, `insert into outbox.events (topic) values ('x')`, `select outbox.adopt_refuse('', '', '')`} {
		_, err := writer.Exec(t.Context(), forbidden)
		refused(t, err, "42501")
	}
	// Nobody but the owner makes another trigger of the function, which would put anything into the outbox.
	if err := migrate.GrantRelay(t.Context(), conn.Config().ConnString(), "outbox", role); err != nil {
		t.Fatal(err)
	}
	_, err = writer.Exec(t.Context(), `create temporary table mine (id uuid, aggregatetype text, aggregateid text, type text, payload text, at timestamptz);
		create trigger mine after insert on mine referencing new table as relay_rows for each statement execute function outbox."adopt public.outboxevent"()`)
	refused(t, err, "42501", "function")
}

// The function belongs to the schema's owner, also when a superuser runs the command.
func TestInstall_FunctionIsTheSchemaOwners(t *testing.T) {
	conn := newDatabase(t, debezium("text"))
	role := text(t, conn, `select 'Owner ' || md5(random()::text)`)
	name := quote(role)
	exec(t, conn, `create role `+name+`; grant create on database `+quote(conn.Config().Database)+` to `+name)
	t.Cleanup(func() { clean(t, conn, `drop owned by `+name+` cascade; drop role `+name) })
	exec(t, conn, `alter schema outbox owner to `+name)
	exec(t, conn, `do $$ declare t record; begin for t in select oid::regclass as name from pg_class where relnamespace = 'outbox'::regnamespace and relkind in ('p', 'r')
		loop execute format('alter table %s owner to %I', t.name, '`+role+`'); end loop; end $$; grant all on all sequences in schema outbox to `+name+`; grant all on all functions in schema outbox to `+name)
	install(t, conn, "outboxevent", "", "debezium")
	if got := text(t, conn, `select pg_get_userbyid(proowner)::text from pg_proc where proname = 'adopt public.outboxevent'`); got != role {
		t.Errorf("the function belongs to %s", got)
	}
	exec(t, conn, `insert into outboxevent (aggregatetype, aggregateid, type) values ('order', 'k', 'T')`)
	if got := keys(t, conn); got != "k" {
		t.Errorf("events %s", got)
	}
}

func TestInstall_AnyNames(t *testing.T) {
	const schema = `o'ut "box" $adopt$`
	long := strings.Repeat("ä", 31) // 62 bytes
	url := postgres.NewDatabase(t)
	migrate.ForTest(t, url, schema)
	conn := connect(t, url)
	exec(t, conn, `create schema `+quote(`s."x`)+`; create schema `+quote(long))
	for _, table := range []pgx.Identifier{{`s."x`, `T a'b $adopt$ "c`}, {long, long}} {
		name := table.Sanitize()
		exec(t, conn, fmt.Sprintf(`create table %s ("to'pic" text, "k""ey" text, "order" bigint generated always as identity primary key, "{x}" text)`, name))
		p, err := plan(t.Context(), conn, schema, name, "", "topic=to'pic", `key=k"ey`, "payload={x}", `header.a'\"b=order`)
		if err != nil {
			t.Fatal(err)
		}
		a := adopter(t, conn)
		exec(t, conn, fmt.Sprintf(`insert into %s ("to'pic", "k""ey", "{x}") values ('t', 'old', 'x')`, name))
		if err := a.Begin(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		old, err := Find(t.Context(), conn, schema, name)
		if err != nil {
			t.Fatal(err)
		}
		exec(t, conn, fmt.Sprintf(`insert into %s ("to'pic", "k""ey", "{x}") values ('t', 'new', 'x')`, name))
		if _, err := a.Backfill(t.Context(), p, old.No, func(Progress) {}); err != nil {
			t.Fatal(err)
		}
		exec(t, conn, fmt.Sprintf(`insert into %s ("to'pic", "k""ey", "{x}") values ('t', 'live', 'x')`, name))
		events := pgx.Identifier{schema, "events"}.Sanitize()
		if got := text(t, conn, `select string_agg(key, ' ' order by seq) || max(headers->>'a''\"b') from `+events); got != "old new live3" {
			t.Errorf("%s: %s", name, got)
		}
		if old, err = Find(t.Context(), conn, schema, name); err != nil {
			t.Fatal(err)
		}
		if differences, function, err := old.Differences(t.Context(), conn, p); err != nil || len(differences) > 0 || function != "" {
			t.Errorf("%q, %q, %v", differences, function, err)
		}
		if _, err := a.Remove(t.Context(), schema, old, false); err != nil {
			t.Error(err)
		}
		exec(t, conn, `truncate `+events)
	}
}

// The script that --print shows does what Install does.
func TestPlan_SQLAdopts(t *testing.T) {
	conn := newDatabase(t, debezium("text"))
	p := planned(t, conn, "outboxevent", "", "debezium")
	if _, err := another(t, conn).PgConn().Exec(t.Context(), p.SQL()).ReadAll(); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `insert into outboxevent (aggregatetype, aggregateid, type) values ('order', 'k', 'T')`)
	if got := keys(t, conn); got != "k" {
		t.Errorf("events %s", got)
	}
	a := found(t, conn, "outboxevent")
	if differences, function, err := a.Differences(t.Context(), conn, p); err != nil || len(differences) > 0 || function != "" || a.Unfinished() {
		t.Errorf("%+v: %q, %q, %v", a, differences, function, err)
	}
}

// Another outbox in the same database must not take the table away unseen.
func TestInspect_RefusesATableOfAnotherOutbox(t *testing.T) {
	conn := newDatabase(t, debezium("text"))
	migrate.ForTest(t, conn.Config().ConnString(), "other")
	install(t, conn, "outboxevent", "", "debezium")
	if _, err := plan(t.Context(), conn, "other", "outboxevent", "", "debezium"); err == nil || !strings.Contains(err.Error(), "that of schema outbox") {
		t.Error(err)
	}
}

// A change of the table that the function cannot follow is seen, and Replace follows it.
func TestDifferences_SeeAChangedTable(t *testing.T) {
	conn := newDatabase(t, debezium("text"))
	install(t, conn, "outboxevent", "", "debezium")
	exec(t, conn, `alter table outboxevent alter column payload type json using payload::json; alter table outboxevent rename to events_of_old`)
	p := planned(t, conn, "events_of_old", "", "debezium")
	old := found(t, conn, "public.events_of_old")
	differences, function, err := old.Differences(t.Context(), conn, p)
	if err != nil || len(differences) > 0 || !strings.Contains(function, "trigger function is another") {
		t.Fatalf("%q, %q, %v", differences, function, err)
	}
	if err := adopter(t, conn).Replace(t.Context(), p, old); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `insert into events_of_old (aggregatetype, aggregateid, type, payload) values ('order', 'k', 'T', '{ "a":1}')`)
	if got := text(t, conn, `select payload::text from outbox.events`); got != `{ "a":1}` {
		t.Errorf("payload %s", got)
	}
	if got := text(t, conn, `select source_name from outbox.adoptions`); got != "public.events_of_old" {
		t.Errorf("on record as %s", got)
	}
}
