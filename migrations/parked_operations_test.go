package migrations_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
	"github.com/outboxrelay/relay/migrations"
)

func TestParkedOperation_SaysWhatWasSelectedAndWhy(t *testing.T) {
	_, conn := newOutbox(t)
	park(t, conn, "main", allStates...)
	exec(t, conn, `select parked_drop_where(topic => 't', state => 'dead', note => '{"ticket": "OPS-7", "ids": "mine"}')`)
	if got, want := text(t, conn, `select detail::text from operations`), fmt.Sprintf(`{"ids": [%q], "states": {"dead": 1}, "ticket": "OPS-7", "selection": {"state": "dead", "topic": "t"}}`, eventID(3)); got != want {
		t.Errorf("detail\n%s, want\n%s", got, want)
	}
	if got := text(t, conn, parkedStates); got != "scheduled held behind replay" {
		t.Errorf("left: %s", got)
	}
}

// The relay looks at the newest op_no only: one that is lower must not be committed later.
func TestParkedOperation_NumbersFollowCommits(t *testing.T) {
	url, conn := newOutbox(t)
	second, watcher := connect(t, url), connect(t, url)
	park(t, conn, "main", "dead", "dead")
	exec(t, conn, `begin; select parked_retry('{`+eventID(1)+`}')`)
	done := make(chan string, 1)
	go func() {
		done <- text(t, second, `select parked_retry(array[$1]::uuid[])::text`, eventID(2))
	}()
	eventually(t, "the second operation waits for the first", func() bool {
		return text(t, watcher, `select count(*)::text from pg_stat_activity where wait_event = 'advisory' and datname = current_database()`) == "1"
	})
	exec(t, conn, `commit`)
	if n := <-done; n != "1" {
		t.Errorf("the second retry was about %s", n)
	}
	if got := text(t, conn, `select string_agg(detail->'ids'->>0, ' ' order by op_no) from operations`); got != eventID(1)+" "+eventID(2) {
		t.Errorf("in the order of op_no: %s", got)
	}
}

// People call the functions with any search_path, and a table of theirs may be called parked.
func TestParkedVerbs_WorkWhateverTheSearchPathIs(t *testing.T) {
	url, conn := newOutbox(t)
	migrate.ForTest(t, url, `we"ird`)
	for _, schema := range []string{`outbox`, `"we""ird"`} {
		exec(t, conn, `set search_path to `+schema)
		park(t, conn, "main", allStates...)
	}
	exec(t, conn, `set search_path to ''; create temp table parked (id int); create temp table operations (id int)`)
	for _, schema := range []string{`outbox`, `"we""ird"`} {
		call := func(sql string) string { return text(t, conn, strings.ReplaceAll(sql, "~", schema)) }
		got := []string{
			call(`select ~.parked_retry(array['` + eventID(3) + `']::uuid[])::text`),
			call(`select ~.parked_retry_where(state => 'behind')::text`),
			call(`select ~.parked_edit('` + eventID(2) + `', new_topic => 'x')::text`),
			call(`select ~.parked_drop(array['` + eventID(1) + `']::uuid[])::text`),
			call(`select ~.parked_drop_where(topic => 't')::text`),
			call(`select count(*)::text from ~.parked`),
			call(`select count(*)::text from ~.operations`),
		}
		if all := strings.Join(got, " "); all != "1 1 1 1 3 1 5" {
			t.Errorf("in %s: %s", schema, all)
		}
	}
}

func TestParkedVerbs_NothingIsRecordedOfWhatRollsBack(t *testing.T) {
	_, conn := newOutbox(t)
	park(t, conn, "main", allStates...)
	exec(t, conn, `begin; select parked_drop_where(everything => true); rollback`)
	if got := text(t, conn, parkedStates) + "; " + text(t, conn, operationsOf); got != "scheduled held dead behind replay; none" {
		t.Error(got)
	}
	for _, nothing := range []string{`select parked_retry('{}')::text`, `select parked_drop(null)::text`, `select parked_edit(gen_random_uuid(), no_key => true)::text`} {
		if n := text(t, conn, nothing); n != "0" {
			t.Errorf("%s: %s", nothing, n)
		}
	}
	if got := text(t, conn, operationsOf); got != "none" {
		t.Errorf("an operation about nothing: %s", got)
	}
}

func TestParkedVerbs_AHundredThousandInOneStatement(t *testing.T) {
	_, conn := newOutbox(t)
	exec(t, conn, `insert into parked (name, seq, state, reason, id, topic, key, payload, created_at)
		select 'main', n, 'dead', 'too_large: ' || n, gen_random_uuid(), 't', (n % 100)::text, json_build_object('n', n), now()
		  from generate_series(1, 100000) n`)
	for _, call := range []struct{ sql, want string }{
		{`select parked_retry_where(reason => 'too_large')::text`, "100000"},
		{`select parked_drop(array(select id from parked where seq <= 50000))::text`, "50000"},
		{`select parked_drop_where(topic => 't')::text`, "50000"},
	} {
		if n := text(t, conn, call.sql); n != call.want {
			t.Errorf("%s: %s", call.sql, n)
		}
	}
	if got := text(t, conn, `select concat(count(*), ' ', max(jsonb_array_length(detail->'ids')), ' ', max(length(detail::text)) < 10000) from operations`); got != "3 100 t" {
		t.Errorf("operations, most ids, short: %s", got)
	}
}

func TestGrants_OperatorMayUseTheVerbsAndNoMore(t *testing.T) {
	url := postgres.NewDatabase(t)
	exec(t, connect(t, url), `alter default privileges revoke execute on functions from public`)
	migrate.ForTest(t, url, "outbox")
	conn := connect(t, url)
	grants, err := migrations.Grants.ReadFile("grants/operator.sql")
	if err != nil {
		t.Fatal(err)
	}
	role := "operator of " + text(t, conn, `select current_database()`)
	quoted := pgx.Identifier{role}.Sanitize()
	exec(t, conn, `create role `+quoted)
	t.Cleanup(func() { // not with the test's context, which is over
		owner, err := pgx.Connect(context.Background(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer owner.Close(context.Background())
		if _, err := owner.Exec(context.Background(), `drop owned by `+quoted+`; drop role `+quoted); err != nil {
			t.Error(err)
		}
	})
	exec(t, conn, strings.NewReplacer(`:"schema"`, "outbox", `:"role"`, quoted).Replace(string(grants)))
	park(t, conn, "main", allStates...)
	exec(t, conn, `set role `+quoted)
	for _, sql := range []string{
		`select * from parked`, `select from parked for update`, `select * from operations`, `select * from lag`, `select * from relays`,
		`select parked_retry('{` + eventID(3) + `}')`, `select parked_retry_where(state => 'behind')`,
		`select parked_edit('` + eventID(2) + `', new_topic => 'x', new_payload => '1', no_headers => true, no_key => true, new_partition => 1)`,
		`select parked_drop('{` + eventID(1) + `}')`, `select parked_drop_where(everything => true)`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Errorf("may not, but should: %s: %v", sql, err)
		}
	}
	for _, sql := range []string{
		`insert into operations (verb, events, who) values ('retry', 1, 'somebody else')`, `update operations set events = 0`, `delete from operations`,
		`update parked set seq = 1`, `update parked set name = 'x'`, `insert into parked (name) values ('x')`,
		`select * from events`, `select payload from events`, `select topic, key from events`, `select * from events_0`, `select * from delivery`,
		`select setval('events_seq', 1)`, `select nextval('events_seq')`, `insert into events (topic) values ('x')`, `update relays set epoch = 1`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("may, but should not: %s: %v", sql, err)
		}
	}
	if who := text(t, conn, `select string_agg(distinct who, '') from operations`); who != "postgres" {
		t.Errorf("who: %s, want the role that logged in", who)
	}
}
