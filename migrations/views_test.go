package migrations_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// addEvents inserts one event a transaction, its topic being its name, and returns nothing: views show the topics.
func addEvents(t *testing.T, conn *pgx.Conn, names ...string) {
	t.Helper()
	for _, name := range names {
		exec(t, conn, `insert into events (topic, payload) values ($1, '{}')`, name)
	}
}

const statuses = `select string_agg(topic || ' ' || status, ', ' order by seq) from delivery where name is not distinct from $1`

func TestDelivery_WithoutARelayAllIsPending(t *testing.T) {
	_, conn := newOutbox(t)
	addEvents(t, conn, "a", "b")
	if got := text(t, conn, statuses, nil); got != "a pending, b pending" {
		t.Error(got)
	}
	if got := text(t, conn, `select concat(name is null, ' ', pending, ' ', lag_seconds > 0, ' ', oldest_created_at is not null) from lag`); got != "t 2 t t" {
		t.Error(got)
	}
}

func TestDelivery_FollowsTheCursor(t *testing.T) {
	url, conn := newOutbox(t)
	late := connect(t, url)
	addEvents(t, conn, "settled")
	exec(t, late, `begin`)
	addEvents(t, late, "late") // drew its number early, commits after the cursor's snapshot

	// The cursor: all of window_from, and of the window up to window_to what has seq <= after_seq.
	from := text(t, conn, `select pg_current_snapshot()::text`)
	addEvents(t, conn, "paged", "unpaged")
	to := text(t, conn, `select pg_current_snapshot()::text`)
	after := text(t, conn, `select seq::text from events where topic = 'paged'`)
	exec(t, conn, `insert into relays (name, window_from, window_to, after_seq) values ('main', $1::text::pg_snapshot, $2::text::pg_snapshot, $3::text::bigint)`, from, to, after)
	addEvents(t, conn, "new")
	exec(t, late, `commit`)

	// "late" has a seq below after_seq and is seen by neither snapshot: a cursor on seq would have lost it.
	if got, want := text(t, conn, statuses, "main"), "settled delivered, late pending, paged delivered, unpaged pending, new pending"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := text(t, conn, `select concat(pending, ' ', oldest_created_at = (select created_at from events where topic = 'late')) from lag where name = 'main'`); got != "3 t" {
		t.Errorf("lag: %s, want 3 pending and the late one the oldest", got)
	}

	exec(t, conn, `update relays set window_from = pg_current_snapshot(), window_to = null, after_seq = 0`)
	if got := text(t, conn, `select concat(pending, ' ', lag_seconds, ' ', oldest_created_at is null) from lag`); got != "0 0 t" {
		t.Errorf("all settled: %s", got)
	}
	if got := text(t, conn, statuses, "main"); strings.Contains(got, "pending") {
		t.Errorf("all settled: %s", got)
	}
}

func TestDelivery_ShowsParkedStatesPerRelay(t *testing.T) {
	_, conn := newOutbox(t)
	states := []string{"scheduled", "held", "dead", "behind", "replay"}
	addEvents(t, conn, states...)
	exec(t, conn, `insert into relays (name, window_from) values ('main', pg_current_snapshot()), ('second', pg_current_snapshot())`)
	exec(t, conn, `insert into parked (name, seq, state, reason, id, topic, created_at)
		select 'main', seq, topic, 'because', id, topic, created_at from events`)
	// A replay beside a dead row: the event is dead.
	exec(t, conn, `insert into parked (name, seq, state, id, topic, created_at)
		select 'main', seq, 'replay', id, topic, created_at from events where topic = 'dead'`)

	want := "scheduled scheduled, held held, dead dead, behind behind, replay replay"
	if got := text(t, conn, statuses, "main"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := text(t, conn, `select string_agg(distinct status, '') from delivery where name = 'second'`); got != "delivered" {
		t.Errorf("the second relay's parked rows are its own: %s", got)
	}
	if got := text(t, conn, `select reason from delivery where name = 'main' and status = 'dead'`); got != "because" {
		t.Errorf("reason %s", got)
	}
}

// The floor only says where to begin: lag looks at nothing below it.
func TestLag_StartsAtTheFloor(t *testing.T) {
	_, conn := newOutbox(t)
	addEvents(t, conn, "a", "b", "c")
	exec(t, conn, `insert into relays (name, floor_seq) select 'main', seq from events where topic = 'b'`)
	if got := text(t, conn, `select pending::text from lag`); got != "1" {
		t.Errorf("%s pending above the floor", got)
	}
	// On a table this small a sequential scan wins.
	exec(t, conn, `set enable_seqscan = off`)
	rows, err := conn.Query(t.Context(), `explain select * from lag`)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if plan := strings.Join(lines, "\n"); !strings.Contains(plan, "Index Cond: (seq > COALESCE(r.floor_seq") {
		t.Errorf("lag does not use the index:\n%s", plan)
	}
}
