package adopt

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A writer that was there before keeps the adoption waiting, which says who it is; then nothing of it is lost.
func TestInstall_WaitsForWriters(t *testing.T) {
	conn := newDatabase(t, debezium("text"))
	old := another(t, conn)
	insert := `insert into outboxevent (aggregatetype, aggregateid, type) values ('order', 'k', 'T')`
	exec(t, old, `set application_name = 'slow shop'; begin; `+insert)
	a := adopter(t, conn)
	told := make(chan string, 100)
	a.Waits = func(holder string) { told <- holder }
	ended := make(chan error, 1)
	p := planned(t, conn, "outboxevent", "", "debezium")
	go func() { ended <- a.Install(t.Context(), p) }()
	if holder := <-told; !strings.Contains(holder, "slow shop") {
		t.Errorf("waits for %s", holder)
	}
	exec(t, conn, insert) // others are not kept waiting
	exec(t, old, insert)
	select {
	case err := <-ended:
		t.Fatalf("adopted under an open transaction: %v", err)
	default:
	}
	exec(t, old, `commit`)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	exec(t, old, insert)
	if got := keys(t, conn); got != "k" {
		t.Errorf("events %q, want those of the last insert", got)
	}
}

func TestBackfill_KeysOfAllTypesAndOrders(t *testing.T) {
	conn := newDatabase(t, ``)
	for i, table := range []string{
		`at timestamptz not null, k char(8), part date, primary key (k, part)`,
		`at numeric not null, k uuid, primary key (k)`,
		`at text not null collate "C", k varchar(10), part timestamp, primary key (part, k)`,
		`at date not null, k smallint, part timestamptz, primary key (k, part)`,
	} {
		columns := map[string]string{"timestamptz": `'2030-01-01'::timestamptz + n / 7 * interval '1 microsecond'`, "numeric": `n / 7 * 1e20 + 0.5`, "text": `lpad((n / 7)::text, 9, '0')`,
			"date": `'2030-01-01'::date + n / 7`}
		kind := strings.Fields(table)[1]
		key := map[string]string{"char(8)": `'xyz' || n % 7`, "uuid": `md5(n::text)::uuid`, "varchar(10)": `'x' || n % 7`, "smallint": `n % 7`}[strings.TrimSuffix(strings.Split(strings.Split(table, ", ")[1], " ")[1], ",")]
		name := fmt.Sprint("m", i)
		exec(t, conn, `truncate outbox.events; create table `+name+` (`+table+`, doc text)`)
		partColumn, part := "", ""
		if strings.Contains(table, "part ") {
			partColumn, part = ", part", `, '2030-01-01'::date + n / 7`
		}
		insert := func(from, to int, doc string) {
			exec(t, conn, fmt.Sprintf(`insert into `+name+` (at, k%s, doc) select %s, %s%s, '%s' from generate_series(%d, %d) n order by random()`, partColumn, columns[kind], key, part, doc, from, to))
		}
		insert(1, 2000, "old")
		p := planned(t, conn, name, "at", "topic='t'", "key={at}/{k}", "payload=doc")
		if err := p.CanBackfill(); err != nil {
			t.Fatal(err)
		}
		a := adopter(t, conn)
		if err := a.Begin(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		exec(t, conn, `set timezone = 'Asia/Tokyo'; set datestyle = 'SQL, DMY'`)
		insert(2001, 2300, "new") // some among the old, by any time zone
		if _, err := a.Backfill(t.Context(), p, found(t, conn, "public."+name).No, func(Progress) {}); err != nil {
			t.Fatal(err)
		}
		got := text(t, conn, `select concat_ws(' ', count(*), count(distinct key), (select count(*) from outbox.events a, outbox.events b
			where convert_from(a.payload_bytes, 'UTF8') = 'old' and convert_from(b.payload_bytes, 'UTF8') = 'new' and a.seq > b.seq),
			max(seq) filter (where payload_bytes = 'old') - min(seq)) from outbox.events`)
		if got != "2300 2300 0 1999" {
			t.Errorf("%s: %s", table, got)
		}
		want := text(t, conn, `select md5(string_agg(at::text, ',' order by at)) from `+name+` where doc = 'old'`)
		if got := text(t, conn, `select md5(string_agg(split_part(key, '/', 1), ',' order by seq)) from outbox.events where payload_bytes = 'old'`); kind != "timestamptz" && kind != "date" && got != want {
			t.Errorf("%s: out of order", table)
		}
		if _, err := a.Remove(t.Context(), "outbox", found(t, conn, "public."+name), false); err != nil {
			t.Fatal(err)
		}
	}
}

// What cannot be copied is said before anything is changed.
func TestCanBackfill_SaysWhatIsMissing(t *testing.T) {
	conn := newDatabase(t, `create table nothing (k text, body text); create table loose (n bigint, at timestamptz, k path, body text);
		create schema nest_outbox; create table nest_outbox.messages (seq bigint generated always as identity primary key, id text, topic text, payload jsonb, headers jsonb, key text,
			created_at bigint, available_at bigint, attempts int, lease_owner text, lease_until bigint)`)
	check := func(table, order string, fields []string, words ...string) {
		t.Helper()
		err := planned(t, conn, table, order, fields...).CanBackfill()
		for _, word := range words {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v, want %q", table, err, word)
			}
		}
	}
	check("nothing", "", []string{"topic=k", "payload=body"}, "name a column with --order", "no primary key")
	check("loose", "at", []string{"topic='t'", "payload=body"}, "alter table public.loose alter column \"at\" set not null")
	exec(t, conn, `insert into nest_outbox.messages (id, topic, payload, lease_owner) values ('a', 't', '{}', 'their relay')`)
	check("nest_outbox.messages", "", []string{"nest_outbox"}, "has reserved 1 rows", "stop it first")
	exec(t, conn, `update nest_outbox.messages set lease_owner = null; insert into nest_outbox.messages (id, topic, payload) values ('b', 'no spaces', '{}')`)
	p := planned(t, conn, "nest_outbox.messages", "", "nest_outbox")
	if err := p.CanBackfill(); err != nil {
		t.Fatal(err)
	}
	_, err := p.Check(t.Context(), conn)
	refused(t, err, "23514", "'no spaces'")
	exec(t, conn, `update nest_outbox.messages set topic = 't', key = id, headers = '{"a": "b"}', available_at = 1893456000000`)
	if n, err := p.Check(t.Context(), conn); n != 2 || err != nil {
		t.Error(n, err)
	}
	a := adopter(t, conn)
	if err := a.Begin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := a.Replace(t.Context(), p, found(t, conn, "nest_outbox.messages")); !errors.Is(err, ErrUnfinished) {
		t.Errorf("replaced in the middle of a backfill: %v", err)
	}
	if _, err := a.Remove(t.Context(), "outbox", found(t, conn, "nest_outbox.messages"), false); !errors.Is(err, ErrUnfinished) {
		t.Errorf("removed in the middle of a backfill: %v", err)
	}
	exec(t, conn, `insert into nest_outbox.messages (id, topic, payload, key) values ('c', 't', '{}', 'c')`)
	if got := keys(t, conn); got != "" {
		t.Errorf("an event did not wait: %s", got)
	}
	if waited, err := a.Remove(t.Context(), "outbox", found(t, conn, "nest_outbox.messages"), true); waited != 1 || err != nil {
		t.Error(waited, err)
	}
	if got := keys(t, conn); got != "c" {
		t.Errorf("events after --abandon: %s", got)
	}
	if _, err := a.Backfill(t.Context(), p, 1, func(Progress) {}); !errors.Is(err, errEnded) {
		t.Errorf("a backfill goes on after its adoption was ended: %v", err)
	}
	if err := a.Begin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	done, err := a.Backfill(t.Context(), p, found(t, conn, "nest_outbox.messages").No, func(Progress) {})
	if err != nil || done.Rows != 3 {
		t.Errorf("%+v, %v", done, err)
	}
	if got := text(t, conn, `select concat_ws(' ', key, headers, extract(epoch from deliver_at)::bigint) from outbox.events where key = 'a'`); got != `a {"a": "b"} 1893456000` {
		t.Error(got)
	}
}

// A policy would hide rows from the backfill.
func TestBackfill_FailsWhereAPolicyHidesRows(t *testing.T) {
	conn := newDatabase(t, ``)
	role := text(t, conn, `select 'own_' || md5(random()::text)`)
	exec(t, conn, `create role `+role+`; create table hidden (id bigint generated always as identity primary key, body text); insert into hidden (body) values ('x');
		alter table hidden owner to `+role+`; alter table hidden enable row level security; alter table hidden force row level security; grant usage on schema outbox to `+role)
	t.Cleanup(func() { clean(t, conn, `reset role; drop owned by `+role+`; drop role `+role) })
	p := planned(t, conn, "hidden", "", "topic='t'", "payload=body")
	a := adopter(t, conn)
	exec(t, a.Conn, `grant execute on all functions in schema outbox to `+role+`; set role `+role)
	_, err := p.Check(t.Context(), a.Conn)
	refused(t, err, "42501", "row-level security policy")
}

// Without an index each batch is a look through the whole table, and smaller batches do not make it quicker: a large
// table would never be copied.
func TestCheck_WantsAnIndexForALargeTable(t *testing.T) {
	conn := newDatabase(t, `create table wide (id uuid, part int, at timestamptz not null default now(), body text, primary key (id, part)) partition by list (part);
		create table wide_1 partition of wide for values in (1) partition by list (part);
		create table wide_1_any partition of wide_1 default; create table wide_2 partition of wide for values in (2)`)
	insert := func(rows int) {
		exec(t, conn, `insert into wide (id, part, body) select gen_random_uuid(), 1 + n % 2, repeat(md5(n::text), 60) from generate_series(1, $1::int) n`, rows)
	}
	insert(10)
	p := planned(t, conn, "wide", "at", "topic='t'", "payload=body")
	check := func(when, want string) {
		t.Helper()
		_, err := p.Check(t.Context(), conn)
		if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", when, err)
		}
	}
	check("a small table", "")
	insert(40_000)
	const cure = `create index concurrently on each of its partitions ("at", "id", "part")`
	check("a large table", cure)
	exec(t, conn, `create index on wide (part, at); create index on wide (at) where body is null; create index on wide using brin (at)`)
	check("with indexes that do not serve", cure)
	exec(t, conn, `create index on wide_1 (at, id, part)`)
	check("with one on half of it", cure)
	exec(t, conn, `create index on wide_2 (at)`)
	check("with one by which rows of one time are not told apart", cure)
	exec(t, conn, `create unique index on wide_2 (id, at) include (part)`)
	check("with a unique one that does not begin with it", cure)
	exec(t, conn, `create index on wide_2 (at, id, part, body)`)
	check("with one on each partition", "")
	exec(t, conn, `create table log (n bigint generated always as identity unique, id uuid primary key default gen_random_uuid(), body text);
		insert into log (body) select repeat(md5(n::text), 60) from generate_series(1, 40000) n`)
	p = planned(t, conn, "log", "", "topic='t'", "payload=body")
	check("with a unique one", "")
}

// PostgreSQL knows nothing of adopted_waiting, which has just begun to grow, and would compare each old row with each that
// waits.
func TestBackfill_ReadsABatchByIndex(t *testing.T) {
	conn := newDatabase(t, `create table m (id uuid primary key default gen_random_uuid(), n bigint generated always as identity unique, body text);
		insert into m (body) select repeat('x', 300) from generate_series(1, 30000); analyze m`)
	p := planned(t, conn, "m", "n", "topic='t'", "payload=body")
	a := adopter(t, conn)
	if err := a.Begin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `insert into m (body) select 'new' from generate_series(1, 500)`)
	for _, behind := range [][]string{nil, {"100", "0198c0de-0000-7000-8000-000000000000"}} {
		var lines []string
		err := a.step(t.Context(), p, found(t, conn, "m").No, func(tx pgx.Tx, _ stage) (err error) {
			rows, _ := tx.Query(t.Context(), "explain "+p.batchSQL(1, behind == nil), 500, behind)
			lines, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		plan := strings.Join(lines, "\n")
		if err != nil || !strings.Contains(plan, "using m_n_key on m ") || !strings.Contains(plan, "AND (row_key = (n.id)::text))") {
			t.Errorf("behind %q: %v\n%s", behind, err, plan)
		}
	}
}
