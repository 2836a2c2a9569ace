package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/adopt"
	"github.com/outboxrelay/relay/internal/devenv/gobuild"
)

const shopTable = `create table shop (position bigint generated always as identity primary key, kind text, item text, body text)`

var shopMap = []string{"--map", "topic={kind},key=item,type='Changed',payload=body"}

// A table is adopted, its rows arrive in Kafka, and the command given again does nothing, says what differs, replaces,
// repairs; unadopt ends it.
func TestAdopt_FromTheFirstRowToTheLast(t *testing.T) {
	env, conn := database(t)
	kafka, b := broker(t, map[string]int32{"orders": 1, "again": 1})
	env = append(append(env, kafka...), "RELAY_OUTBOX_WAKE=poll", "RELAY_HTTP_LISTEN=")
	execute(t, conn, shopTable+`; insert into shop (kind, item, body) values ('orders', 'a', 'before')`)
	startDaemon(t, env)
	adopt := func(more ...string) []string { return append(append([]string{"adopt", "shop"}, shopMap...), more...) }
	insert := func(body string) {
		execute(t, conn, `insert into shop (kind, item, body) values ('orders', 'a', $1)`, body)
	}

	if out := runRelay(t, env, adopt("--print")...).wants(t, exitDone); !strings.Contains(out, "create or replace trigger relay_adopt after insert on public.shop") {
		t.Error(out)
	}
	insert("printed only")
	r := decode[adoptResult](t, runRelay(t, env, adopt("--json")...).wants(t, exitDone))
	if r.Action != "adopted" || r.Table != "public.shop" || r.OrderBy != "position" || r.Backfilled != nil || r.Map["type"] != "'Changed'" {
		t.Errorf("%+v", r)
	}
	insert("one")
	if out := runRelay(t, env, adopt()...).wants(t, exitDone); !strings.Contains(out, "nothing to do") {
		t.Error(out)
	}
	other := []string{"adopt", "public.shop", "--map", "topic='again',key=item,payload=body"}
	if r := runRelay(t, env, other...); r.code != exitFailed || !strings.Contains(r.errors, "topic: from {kind}, not from 'again'") || !strings.Contains(r.errors, "--replace") {
		t.Errorf("%+v", r)
	}
	if out := runRelay(t, env, append(other, "--replace")...).wants(t, exitDone); !strings.HasPrefix(out, "replaced  public.shop") {
		t.Error(out)
	}
	insert("two")
	execute(t, conn, `alter table shop disable trigger relay_adopt`)
	if out := runRelay(t, env, "check").out; !strings.Contains(out, "fail  adopted        public.shop has its trigger disabled") {
		t.Error(out)
	}
	if out := runRelay(t, env, other...).wants(t, exitDone); !strings.HasPrefix(out, "repaired  triggers of public.shop") {
		t.Error(out)
	}
	if out := runRelay(t, env, "check").out; !strings.Contains(out, "ok    adopted        rows of public.shop become events") {
		t.Error(out)
	}
	if r := runRelay(t, env, append(other, "--backfill", "--yes")...); r.code != exitFailed || !strings.Contains(r.errors, "without --backfill") {
		t.Errorf("%+v", r)
	}
	done := decode[unadoptResult](t, runRelay(t, env, "unadopt", "public.shop", "--json").wants(t, exitDone))
	if !done.Unadopted || done.Waited != 0 {
		t.Errorf("%+v", done)
	}
	insert("after")
	if out := runRelay(t, env, "unadopt", "shop").wants(t, exitDone); !strings.Contains(out, "shop is not adopted") {
		t.Error(out)
	}
	settledAll(t, conn)
	if got := append(valuesOf(t, b, "orders", 1), valuesOf(t, b, "again", 1)...); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("records %q", got)
	}
	if got := query(t, conn, `select string_agg(concat(verb, ' ', detail->>'table', ' ', detail->>'via'), ', ' order by op_no) from outbox.operations`); got !=
		"adopt public.shop relay adopt, adopt public.shop relay adopt, unadopt public.shop relay unadopt" {
		t.Error(got)
	}
}

func TestAdopt_BackfillIsInOrderAndIdempotent(t *testing.T) {
	env, conn := database(t)
	execute(t, conn, shopTable+`; insert into shop (kind, item, body) select 'orders', n % 7, n::text from generate_series(1, 3000) n`)
	adopt := append(append([]string{"adopt", "shop"}, shopMap...), "--backfill")
	if r := runRelay(t, env, adopt...); r.code != exitUsage || !strings.Contains(r.errors, "say --yes") {
		t.Errorf("%+v", r)
	}
	execute(t, conn, `insert into shop (kind, item, body) values ('no spaces', '', '')`)
	if r := runRelay(t, env, append(adopt, "--yes")...); r.code != exitFailed || !strings.Contains(r.errors, "its topic is 'no spaces'") {
		t.Errorf("%+v", r)
	}
	if got := query(t, conn, `select concat((select count(*) from outbox.adoptions), (select count(*) from outbox.events))`); got != "00" {
		t.Errorf("something was changed: %s", got)
	}
	execute(t, conn, `delete from shop where kind = 'no spaces'`)
	r := decode[adoptResult](t, runRelay(t, env, append(adopt, "--yes", "--json")...).wants(t, exitDone))
	if r.Action != "adopted" || *r.Backfilled != 3000 {
		t.Errorf("%+v", r)
	}
	inOrder := `select concat_ws(' ', count(*), bool_and(convert_from(payload_bytes, 'UTF8')::bigint = n)) from (select *, row_number() over (order by seq) n from outbox.events) e`
	if got := query(t, conn, inOrder); got != "3000 t" {
		t.Error(got)
	}
	r = decode[adoptResult](t, runRelay(t, env, append(adopt, "--yes", "--json")...).wants(t, exitDone))
	if r.Action != "unchanged" || *r.Backfilled != 3000 {
		t.Errorf("%+v", r)
	}
	execute(t, conn, `insert into shop (kind, item, body) values ('orders', '0', '3001')`)
	if got := query(t, conn, inOrder); got != "3001 t" {
		t.Error(got)
	}
}

func TestAdopt_BackfillSaysHowFarItIs(t *testing.T) {
	env, conn := database(t)
	execute(t, conn, shopTable+`; insert into shop (kind, item, body) select 'orders', n % 7, n::text from generate_series(1, 3000) n; analyze shop`)
	r := runRelay(t, env, append(append([]string{"adopt", "shop"}, shopMap...), "--backfill", "--yes")...)
	r.wants(t, exitDone)
	if !strings.Contains(r.errors, "looking through public.shop for rows that can be no events: about 3,000 rows, ") || !strings.Contains(r.errors, "public.shop: 500 of 3,000 copied") {
		t.Errorf("%+v", r)
	}
	p := adoptProgress{table: "public.shop", rows: 1_000_000, first: 100_000}
	for want, line := range map[string]string{
		"public.shop: 100,500 of 1,000,000 copied":                                            p.line(adopt.Progress{Rows: 100_500}, 10*time.Millisecond),
		"public.shop: 400,000 of 1,000,000 copied, 50,000/s, 12s left":                        p.line(adopt.Progress{Rows: 400_000}, 6*time.Second),
		"public.shop: 1,000,000 of 1,000,000 copied; 1 event of newer rows moved behind them": p.line(adopt.Progress{Rows: 1_000_000, Waiting: 1}, time.Minute),
		"public.shop: 1,200,000 of 1,000,000 copied, 11,000/s":                                p.line(adopt.Progress{Rows: 1_200_000}, 100*time.Second),
	} {
		if line != want {
			t.Errorf("%q, want %q", line, want)
		}
	}
}

// The process dies by signal 9 in the middle; the same command goes on, and what was inserted meanwhile comes behind.
func TestAdopt_BackfillGoesOnAfterSignal9(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the relay, which -short leaves out")
	}
	binary := filepath.Join(t.TempDir(), "relay")
	if err := gobuild.Relay(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	env, conn := database(t)
	execute(t, conn, shopTable+`; insert into shop (kind, item, body) select 'orders', n % 7, n::text from generate_series(1, 60000) n`)
	args := append(append([]string{"adopt", "shop"}, shopMap...), "--backfill", "--yes")
	// Held up where it writes down how far it is, so that it is in the middle when the signal comes.
	execute(t, conn, `create function held_up() returns trigger language plpgsql as $$ begin
		if new.backfilled > 5000 then perform pg_advisory_xact_lock(1); end if; return new; end $$;
		create trigger held_up before update on outbox.adoptions for each row execute function held_up(); select pg_advisory_lock(1)`)
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env, cmd.Dir = env, t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waits := `select exists (select from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database()))::text`
	until(t, "it is in the middle", func() bool { return query(t, conn, waits) == "true" })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	execute(t, conn, `select pg_advisory_unlock(1); drop function held_up cascade`)
	if got := query(t, conn, `select concat(state, ' ', backfilled < 60000) from outbox.adoptions`); got != "backfilling t" {
		t.Fatalf("after the kill: %s", got)
	}
	execute(t, conn, `insert into shop (kind, item, body) select 'orders', n % 7, n::text from generate_series(60001, 61000) n`)
	plain := append(append([]string{"adopt", "shop"}, shopMap...), "--json")
	if r := runRelay(t, env, plain...); r.code != exitFailed || !strings.Contains(r.errors, "--backfill goes on") {
		t.Errorf("%+v", r)
	}
	if r := runRelay(t, env, "unadopt", "shop"); r.code != exitFailed || !strings.Contains(r.errors, "--abandon") {
		t.Errorf("%+v", r)
	}
	r := decode[adoptResult](t, runRelay(t, env, append(args, "--json")...).wants(t, exitDone))
	if r.Action != "resumed" || *r.Backfilled != 60000 || r.Waited != 1000 {
		t.Errorf("%+v", r)
	}
	got := query(t, conn, `select concat_ws(' ', count(*), bool_and(convert_from(payload_bytes, 'UTF8')::bigint = n)) from (select *, row_number() over (order by seq) n from outbox.events) e`)
	if got != "61000 t" {
		t.Error(got)
	}
}

func TestAdopt_SaysWhatIsWrong(t *testing.T) {
	env, conn := database(t)
	execute(t, conn, shopTable)
	for args, message := range map[string]string{
		"adopt":                                "say which table",
		"adopt shop":                           "say what becomes what",
		"adopt shop --map topic=kind":          "say where the payload comes from",
		"adopt shop --map debezium --backfill": "say --yes",
		"adopt shop --map debezium --backfill --yes --print":               "cannot be printed",
		"adopt shop --map debezium --backfill --yes --replace":             "--replace is about rows that come",
		"adopt shop --map debezium --backfill --yes --leave-publication p": "goes without --backfill",
		"adopt shop --map debezium --print --json":                         "SQL, not JSON",
		"unadopt": "say which table",
	} {
		if r := runRelay(t, env, strings.Fields(args)...); r.code != exitUsage || !strings.Contains(r.errors, message) {
			t.Errorf("%s: %+v, want %q", args, r, message)
		}
	}
	for args, message := range map[string]string{
		"adopt nope --map debezium":                                         "there is no such table: nope",
		"adopt shop --map debezium":                                         `no column "aggregatetype"`,
		"adopt shop --map topic=kind,payload=body --leave-publication nope": `publication "nope" does not exist`,
	} {
		if r := runRelay(t, env, strings.Fields(args)...); r.code != exitFailed || !strings.Contains(r.errors, message) {
			t.Errorf("%s: %+v, want %q", args, r, message)
		}
	}
	newRoles(t, conn, "noowner")
	url := strings.Replace(conn.Config().ConnString(), "postgres@", "noowner@", 1)
	execute(t, conn, `grant usage on schema outbox to noowner; grant select on outbox.adoptions to noowner`)
	r := runRelay(t, []string{"RELAY_POSTGRES_URL=" + url}, "adopt", "shop", "--map", "topic=kind,payload=body")
	if r.code != exitFailed || !strings.Contains(r.errors, "run it as the owner of schema outbox who also owns the table") {
		t.Errorf("%+v", r)
	}
	fresh, _ := emptyDatabase(t)
	if r := runRelay(t, fresh, "unadopt", "shop"); r.code != exitFailed || !strings.Contains(r.errors, "relay migrate up") {
		t.Errorf("%+v", r)
	}
	// Ctrl-C while it waits for a writer.
	execute(t, conn, `begin; insert into shop (kind, item, body) values ('orders', 'a', 'x')`)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var said strings.Builder
	code := Main(ctx, append([]string{"adopt", "shop"}, shopMap...), env, strings.NewReader(""), &said, &said)
	if code != exitFailed || !strings.Contains(said.String(), "waiting for the table: process") {
		t.Errorf("%d: %s", code, said.String())
	}
	execute(t, conn, `rollback`)
}

// A deployment gives the same command each time, also the one with which the table left Debezium.
func TestAdopt_LeavesThePublicationOnce(t *testing.T) {
	env, conn := database(t)
	execute(t, conn, shopTable+`; create publication dbz for table shop`)
	command := append(append([]string{"adopt", "shop"}, shopMap...), "--leave-publication", "dbz")
	if out := runRelay(t, env, command...).wants(t, exitDone); !strings.HasPrefix(out, "adopted") {
		t.Error(out)
	}
	if out := runRelay(t, env, command...).wants(t, exitDone); !strings.Contains(out, "nothing to do") {
		t.Error(out)
	}
	execute(t, conn, `alter publication dbz add table shop`)
	if r := runRelay(t, env, command...); r.code != exitFailed || !strings.Contains(r.errors, "cannot leave a publication in the same transaction") {
		t.Errorf("%+v", r)
	}
}

// The cure that relay check names for a table that is gone must not end the adoption of the one that has its name now.
func TestUnadopt_ATableThatIsGone(t *testing.T) {
	env, conn := database(t)
	execute(t, conn, shopTable)
	command := append([]string{"adopt", "shop"}, shopMap...)
	runRelay(t, env, command...).wants(t, exitDone)
	execute(t, conn, `alter table shop rename to shop_old; `+shopTable)
	runRelay(t, env, command...).wants(t, exitDone)
	execute(t, conn, `drop table shop_old`)
	if out := runRelay(t, env, "check").out; !strings.Contains(out, "public.shop is gone") || !strings.Contains(out, "relay unadopt public.shop") {
		t.Error(out)
	}
	if out := runRelay(t, env, "unadopt", "public.shop").wants(t, exitDone); !strings.Contains(out, "the table that had this name when it was adopted") {
		t.Error(out)
	}
	if out := runRelay(t, env, "check").out; strings.Contains(out, "is gone") || !strings.Contains(out, "rows of public.shop become events") {
		t.Error(out)
	}
}
