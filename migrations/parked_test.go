package migrations_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
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
