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

// park puts one event a state into parked, its topic being "t", its key "k" and its seq its place in the list.
func park(t *testing.T, conn *pgx.Conn, relay string, states ...string) {
	t.Helper()
	for i, state := range states {
		exec(t, conn, `insert into parked (name, seq, state, reason, due_at, id, topic, key, payload, headers, created_at, lettered_at)
			values ($1, $2, $3, $4, now() + case $3 when 'scheduled' then interval '1 day' else interval '-1 day' end,
			        $5, 't', 'k', '{"n": 1}', '{"a": "b"}', now(), case $3 when 'dead' then now() end)`,
			relay, i+1, state, "why: "+state, eventID(i+1))
	}
}

func eventID(seq int) string { return fmt.Sprintf("0198c0de-0000-7000-8000-%012d", seq) }

var allStates = []string{"scheduled", "held", "dead", "behind", "replay"}

const (
	parkedStates = `select coalesce(string_agg(state, ' ' order by seq), 'none') from parked`
	operationsOf = `select coalesce(string_agg(concat_ws(' ', verb, events, who = session_user), ', ' order by op_no), 'none') from operations`
)

func TestParkedRetry_OfEachState(t *testing.T) {
	_, conn := newOutbox(t)
	park(t, conn, "main", allStates...)
	before := text(t, conn, `select string_agg(concat_ws(' ', state, reason, due_at, lettered_at), ',' order by seq) from parked where state in ('held', 'behind', 'replay')`)
	dead := text(t, conn, `select concat_ws(' ', due_at, lettered_at) from parked where state = 'dead'`)

	if n := text(t, conn, `select parked_retry(array_agg(id))::text from parked`); n != "5" {
		t.Errorf("asked for %s, want 5", n)
	}
	if after := text(t, conn, `select string_agg(concat_ws(' ', state, reason, due_at, lettered_at), ',' order by seq) from parked where seq <> 3 and state <> 'scheduled'`); after != before {
		t.Errorf("held, behind and replay were changed:\n%s\n%s", before, after)
	}
	if got := text(t, conn, `select concat_ws(' ', due_at, lettered_at) from parked where seq = 3 and state = 'held' and reason = 'retry: asked for by an operator'`); got != dead {
		t.Errorf("the dead event's times: %s, want %s", got, dead)
	}
	if due := text(t, conn, `select (due_at between now() - interval '1 minute' and now())::text from parked where seq = 1 and state = 'scheduled'`); due != "true" {
		t.Error("the scheduled event is not due")
	}
	if got := text(t, conn, operationsOf); got != "retry 5 t" {
		t.Errorf("operations: %s", got)
	}
	if got := text(t, conn, `select concat(detail->'states', detail->'ids'->>2, ' ', jsonb_array_length(detail->'ids')) from operations`); got != `{"dead": 1, "held": 1, "behind": 1, "replay": 1, "scheduled": 1}`+eventID(3)+" 5" {
		t.Errorf("detail: %s", got)
	}
}

// A retry asks for an event at once; it must not send one to the back of its queue.
func TestParkedRetry_KeepsAnOverdueEventsPlace(t *testing.T) {
	_, conn := newOutbox(t)
	park(t, conn, "main", "scheduled")
	exec(t, conn, `update parked set due_at = '2020-01-01Z'`)
	exec(t, conn, `select parked_retry_where(everything => true)`)
	if year := text(t, conn, `select extract(year from due_at)::text from parked`); year != "2020" {
		t.Errorf("the event is now due in %s", year)
	}
}

func TestParkedWhere_SelectsByEveryCondition(t *testing.T) {
	cases := []struct{ args, want string }{
		{`state => 'dead'`, "2"},
		{`topic => 'orders'`, "3"},
		{`topic => 'orders', state => 'dead'`, "2"},
		{`topic => 'orders', key => '42'`, "1"},
		{`key => ''`, "1"},
		{`reason => 'too_large'`, "1"},
		{`reason => '_oo'`, "0"}, // a prefix, not a pattern
		{`reason => 'large'`, "0"},
		{`relay => 'second', everything => true`, "1"},
		{`everything => true`, "5"},
		{`everything => true, after_no => 1, to_no => 3`, "2"},
		{`state => 'dead', note => null`, "2"},
	}
	for _, verb := range []string{"retry", "drop"} {
		_, conn := newOutbox(t)
		for _, c := range cases {
			exec(t, conn, `truncate parked restart identity; truncate operations`)
			exec(t, conn, `insert into parked (name, seq, state, reason, id, topic, key, created_at) values
				('main', 1, 'dead', 'too_large: 2 bytes', gen_random_uuid(), 'orders', '42', now()),
				('main', 2, 'dead', 'bad_partition: 99', gen_random_uuid(), 'orders', null, now()),
				('main', 3, 'behind', 'behind', gen_random_uuid(), 'orders', '', now()),
				('main', 4, 'held', 'no_topic', gen_random_uuid(), 'payments', '43', now()),
				('second', 1, 'held', 'no_topic', gen_random_uuid(), 'payments', '43', now())`)
			if n := text(t, conn, fmt.Sprintf(`select parked_%s_where(%s)::text`, verb, c.args)); n != c.want {
				t.Errorf("%s where %s: %s, want %s", verb, c.args, n, c.want)
			}
			operations := "none"
			if c.want != "0" {
				operations = verb + " " + c.want + " t"
			}
			if got := text(t, conn, operationsOf); got != operations {
				t.Errorf("%s where %s: operations: %s", verb, c.args, got)
			}
			left := "5"
			if verb == "drop" {
				left = text(t, conn, `select (5 - $1::int)::text`, c.want)
			}
			if got := text(t, conn, `select count(*)::text from parked`); got != left {
				t.Errorf("%s where %s: %s rows are left, want %s", verb, c.args, got, left)
			}
		}
	}
}

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

func TestParkedVerbs_RefuseWithASentence(t *testing.T) {
	_, conn := newOutbox(t)
	park(t, conn, "main", "dead", "replay")
	park(t, conn, "second", "dead")
	edit := `select parked_edit('` + eventID(1) + `', relay => 'main', `
	cases := []struct{ sql, want string }{
		{`select parked_drop_where()`, "or say everything => true"},
		{`select parked_retry_where(relay => 'main')`, "or say everything => true"},
		{`select parked_drop_where(everything => true, state => 'dead')`, "no other selection"},
		{`select parked_drop_where(state => 'ded')`, "there is no state 'ded'"},
		{edit + `seq => 1)`, "say what to change"},
		{edit + `new_topic => 'a b')`, "'a b' is no topic name"},
		{edit + `new_topic => '')`, "'' is no topic name"},
		{edit + `new_topic => '..')`, "'..' is no topic name"},
		{edit + `new_topic => repeat('a', 250))`, "is no topic name"},
		{edit + `new_headers => '[]')`, "new_headers is no JSON object"},
		{edit + `new_headers => 'null')`, "new_headers is no JSON object"},
		{edit + `new_partition => -1)`, "counted from 0"},
		{edit + `new_key => 'a', no_key => true)`, "new_key and no_key exclude"},
		{edit + `new_headers => '{}', no_headers => true)`, "new_headers and no_headers exclude"},
		{edit + `new_partition => 1, no_partition => true)`, "new_partition and no_partition exclude"},
		{edit + `new_payload => '{}', new_payload_bytes => '')`, "exclude each other"},
		{edit + `new_payload => '{}', no_payload => true)`, "exclude each other"},
		{`select parked_edit('` + eventID(1) + `', no_key => true)`, "relay main seq 1, relay second seq 1"},
	}
	for _, c := range cases {
		_, err := conn.Exec(t.Context(), c.sql)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "22023") {
			t.Errorf("%s: %v, want %q", c.sql, err, c.want)
		}
	}
	if got := text(t, conn, parkedStates) + "; " + text(t, conn, operationsOf); got != "dead dead replay; none" {
		t.Errorf("after all refusals: %s", got)
	}
	// The event of a replay was delivered as it was.
	if n := text(t, conn, `select parked_edit($1, new_key => 'a')::text`, eventID(2)); n != "0" {
		t.Errorf("%s replays edited", n)
	}
}

func TestParkedEdit_ChangesWhatIsGivenAndNothingElse(t *testing.T) {
	const row = `select concat_ws('|', topic, coalesce(key, 'null'), coalesce(headers::text, 'null'), coalesce(payload::text, 'null'),
		coalesce(payload_bytes::text, 'null'), coalesce(partition::text, 'null')) from parked`
	cases := []struct{ args, want, reason string }{
		{`new_topic => 'orders'`, `orders|k|{"a": "b"}|{"n": 1}|null|3`, "edited: topic by an operator"},
		{`new_key => ''`, `t||{"a": "b"}|{"n": 1}|null|3`, "edited: key by an operator"},
		{`no_key => true`, `t|null|{"a": "b"}|{"n": 1}|null|3`, "edited: key by an operator"},
		{`new_headers => '{ }'`, `t|k|{ }|{"n": 1}|null|3`, "edited: headers by an operator"},
		{`no_headers => true`, `t|k|null|{"n": 1}|null|3`, "edited: headers by an operator"},
		{`new_payload => '{ "b":1,"a":1}'`, `t|k|{"a": "b"}|{ "b":1,"a":1}|null|3`, "edited: payload by an operator"},
		{`new_payload_bytes => '\x00ff'`, `t|k|{"a": "b"}|null|\x00ff|3`, "edited: payload by an operator"},
		{`no_payload => true`, `t|k|{"a": "b"}|null|null|3`, "edited: payload by an operator"},
		{`new_partition => 0`, `t|k|{"a": "b"}|{"n": 1}|null|0`, "edited: partition by an operator"},
		{`no_partition => true, new_topic => 'x'`, `x|k|{"a": "b"}|{"n": 1}|null|null`, "edited: topic, partition by an operator"},
	}
	_, conn := newOutbox(t)
	for _, c := range cases {
		exec(t, conn, `truncate parked; truncate operations`)
		park(t, conn, "main", "dead")
		exec(t, conn, `update parked set partition = 3`)
		due := text(t, conn, `select due_at::text from parked`)
		if n := text(t, conn, fmt.Sprintf(`select parked_edit('%s', %s)::text`, eventID(1), c.args)); n != "1" {
			t.Errorf("%s: %s edited", c.args, n)
		}
		if got := text(t, conn, row); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.args, got, c.want)
		}
		// Held, so that it is tried; its place stays; what the dead-letter topic has is not this.
		if got, want := text(t, conn, `select concat_ws('|', state, reason, due_at, lettered_at is null) from parked`), "held|"+c.reason+"|"+due+"|t"; got != want {
			t.Errorf("%s: %s, want %s", c.args, got, want)
		}
		if got := text(t, conn, operationsOf); got != "edit 1 t" {
			t.Errorf("%s: operations: %s", c.args, got)
		}
	}
	exec(t, conn, `update parked set payload = null, payload_bytes = '\x01'`)
	exec(t, conn, `select parked_edit($1, new_payload => '1')`, eventID(1))
	if got := text(t, conn, `select concat(payload, payload_bytes) from parked`); got != "1" {
		t.Errorf("bytes replaced by JSON: %s", got)
	}
}

func TestParkedEdit_StateAfterwards(t *testing.T) {
	cases := []struct{ state, args, want string }{
		{"scheduled", `new_topic => 'x'`, "scheduled why: scheduled"},
		{"held", `new_payload => '1'`, "held why: held"},
		{"held", `new_topic => 'x'`, "held edited: topic by an operator"},
		{"behind", `new_payload => '1'`, "behind why: behind"},
		{"behind", `new_topic => 't', new_key => 'k'`, "behind why: behind"},
		{"behind", `no_key => true`, "held edited: key by an operator"},
		{"dead", `new_payload => '1'`, "held edited: payload by an operator"},
	}
	_, conn := newOutbox(t)
	for _, c := range cases {
		exec(t, conn, `truncate parked`)
		park(t, conn, "main", c.state)
		due := text(t, conn, `select due_at::text from parked`)
		exec(t, conn, fmt.Sprintf(`select parked_edit('%s', %s)`, eventID(1), c.args))
		if got := text(t, conn, `select concat_ws(' ', state, reason) from parked where due_at = $1::text::timestamptz`, due); got != c.want {
			t.Errorf("%s, %s: %s, want %s", c.state, c.args, got, c.want)
		}
	}
}

func TestParkedEdit_RecordsBeforeAndAfterWithoutContents(t *testing.T) {
	_, conn := newOutbox(t)
	park(t, conn, "main", "dead")
	exec(t, conn, `select parked_edit($1, new_topic => 'x', no_key => true, no_headers => true, new_payload_bytes => 'secret')`, eventID(1))
	detail := text(t, conn, `select detail::text from operations`)
	for _, want := range []string{`"topic": {"after": "x", "before": "t"}`, `"key": {"after": null, "before": "k"}`,
		`"bytes": 6`, `"relay": "main"`, `"headers": {"after": null, "before": {`, eventID(1)} {
		if !strings.Contains(detail, want) {
			t.Errorf("%s is missing in %s", want, detail)
		}
	}
	for _, content := range []string{"secret", `"n"`, `"a"`, "partition"} {
		if strings.Contains(detail, content) {
			t.Errorf("%s is in %s", content, detail)
		}
	}
}

// The relay deletes by parked_no what Kafka has acked. An edit while the event is in flight outlives that.
func TestParkedEdit_OutlivesTheDeliveryOfWhatItWas(t *testing.T) {
	_, conn := newOutbox(t)
	park(t, conn, "main", "held")
	inFlight := text(t, conn, `select parked_no::text from parked`)
	exec(t, conn, `select parked_edit($1, new_topic => 'x')`, eventID(1))
	exec(t, conn, `delete from parked where parked_no = $1::text::bigint`, inFlight)
	if got := text(t, conn, `select coalesce(max(topic), 'gone') from parked`); got != "x" {
		t.Errorf("the edited event is %s", got)
	}
}

func TestParkedEdit_TwoAtOnceBothTakeEffect(t *testing.T) {
	url, conn := newOutbox(t)
	second := connect(t, url)
	park(t, conn, "main", "dead")
	exec(t, conn, `begin; select parked_edit('`+eventID(1)+`', new_topic => 'x')`)
	done := make(chan string, 1)
	go func() {
		done <- text(t, second, `select parked_edit($1, new_key => 'y')::text`, eventID(1))
	}()
	watcher := connect(t, url)
	eventually(t, "the second edit waits for the first", func() bool {
		return text(t, watcher, `select count(*)::text from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`) == "1"
	})
	exec(t, conn, `commit`)
	if n := <-done; n != "1" {
		t.Errorf("the second edit changed %s", n)
	}
	if got := text(t, conn, `select concat(topic, ' ', key) from parked`); got != "x y" {
		t.Errorf("after both: %s", got)
	}
	if before := text(t, conn, `select concat(verb, ' ', detail->'changes'->'key'->>'before') from operations order by op_no desc limit 1`); before != "edit k" {
		t.Errorf("the second operation: %s", before)
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
		`select * from events`, `insert into events (topic) values ('x')`, `update relays set epoch = 1`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("may, but should not: %s: %v", sql, err)
		}
	}
	if who := text(t, conn, `select string_agg(distinct who, '') from operations`); who != "postgres" {
		t.Errorf("who: %s, want the role that logged in", who)
	}
}
