package adopt

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Rows go to the children of a table by their own names, as with partitions made by triggers.
func TestInspect_RefusesATableWithHeirs(t *testing.T) {
	conn := newDatabase(t, messages+`; create table m_2026 () inherits (m)`)
	if _, err := Inspect(t.Context(), conn, "outbox", "m"); err == nil || !strings.Contains(err.Error(), "m_2026") {
		t.Errorf("%v", err)
	}
	install(t, conn, "m_2026", "n", messageFields...)
	exec(t, conn, `insert into m_2026 (n, k) values (1, '1')`)
	if got := keys(t, conn); got != "1" {
		t.Errorf("events %q", got)
	}
}

// A topic that no row can mend would fail every insert of the application.
func TestNewPlan_RefusesATopicThatNoneCanBe(t *testing.T) {
	conn := newDatabase(t, messages)
	for topic, word := range map[string]string{"'a b'": "does not take", "orders:{k}": "does not take", "'..'": "no topic", "''": "no topic", "'" + strings.Repeat("x", 250) + "'": "no topic"} {
		if _, err := plan(t.Context(), conn, "outbox", "m", "", "topic="+topic, "payload=body"); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", topic, err)
		}
	}
}

// By such a collation other texts are equal, and a pattern is refused.
func TestBackfill_CollationsOfTheTable(t *testing.T) {
	conn := newDatabase(t, `create collation blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		create table m (id text collate blind primary key, n bigint not null generated always as identity unique, topic text collate blind, body text);
		create table c (id text collate "C" primary key, n bigint not null generated always as identity unique, topic text, body text);
		insert into m (id, topic) values ('a', 't'); insert into c (id, topic) values ('a', 't')`)
	for _, table := range []string{"m", "c"} {
		fields := []string{"topic=topic", "key=id", "id=id", "payload=body"}
		p := planned(t, conn, table, "", fields...)
		a := adopter(t, conn)
		if _, err := p.Check(t.Context(), a.Conn); err != nil {
			t.Fatal(err)
		}
		if err := a.Begin(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		exec(t, conn, `insert into `+table+` (id, topic) values ('b', 't')`)
		no := found(t, conn, table).No
		err := a.step(t.Context(), p, no, func(tx pgx.Tx, _ stage) error {
			rows, _ := tx.Query(t.Context(), "explain "+p.batchSQL(no, true), 500, nil)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if plan := strings.Join(lines, "\n"); !strings.Contains(plan, "AND (row_key = ") {
				t.Errorf("%s: the index of what waits is not used:\n%s", table, plan)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		// An event that waits for a row whose key is another only by its bytes.
		exec(t, conn, `update outbox.adopted_waiting set row_key = 'A'`)
		if _, err := a.Backfill(t.Context(), p, no, func(Progress) {}); err != nil {
			t.Fatal(err)
		}
		if got := keys(t, conn); got != "a b b" { // b was made an older row by the update
			t.Errorf("%s: events %q", table, got)
		}
		exec(t, conn, `truncate outbox.events`)
	}
}

// Two writers whose settings differ give one value one key.
func TestInstall_TextIsTheSameForEachWriter(t *testing.T) {
	conn := newDatabase(t, `create table m (id uuid primary key default gen_random_uuid(), f double precision, i interval, b bytea, price money)`)
	install(t, conn, "m", "", "topic='t'", "key={f} {i} {b} {price}", "payload=b")
	exec(t, conn, `insert into m (f, i, b, price) values (0.1::float8 + 0.2, '1 day 2 hours', '\xff', 5)`)
	exec(t, conn, `set extra_float_digits = -5; set intervalstyle = 'iso_8601'; set bytea_output = 'escape'; set lc_monetary = 'C.UTF-8';
		insert into m (f, i, b, price) values (0.1::float8 + 0.2, '1 day 2 hours', '\xff', 5)`)
	if got := text(t, conn, `select string_agg(distinct key, ', ') from outbox.events`); got != `0.30000000000000004 1 day 02:00:00 \xff $5.00` && got != `0.30000000000000004 1 day 02:00:00 \xff 5.00` {
		t.Errorf("keys %s", got)
	}
}

// Rows that a subscription brings give events where the trigger is ENABLE ALWAYS, also by another map.
func TestReplace_KeepsAlways(t *testing.T) {
	conn := newDatabase(t, messages)
	install(t, conn, "m", "", messageFields...)
	exec(t, conn, `alter table m enable always trigger relay_adopt`)
	if err := adopter(t, conn).Replace(t.Context(), planned(t, conn, "m", "", "topic='t'", "key={k}!", "payload=body"), found(t, conn, "m")); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `set session_replication_role = replica; insert into m (k) values ('1')`)
	if got := keys(t, conn); got != "1!" {
		t.Errorf("events %q", got)
	}
}

// PostgreSQL 18 makes such a value when it is read; a trigger's row has null there.
func TestNewPlan_RefusesWhatATriggerDoesNotSee(t *testing.T) {
	s := &Source{Name: "m", Plain: "m", Trusted: true, Columns: []Column{{Name: "k", Type: "text", Builtin: true, Virtual: true}, {Name: "body", Type: "text", Builtin: true},
		{Name: "h", Type: "json", Builtin: true, Virtual: true}}}
	for field, value := range map[string]string{"key": "k", "type": "a {k}", "headers": "h", "header.x": "k"} {
		_, err := NewPlan("outbox", s, Map{"topic": "'t'", "payload": "body", field: value}, "")
		if err == nil || !strings.Contains(err.Error(), "generated when it is read") {
			t.Errorf("%s=%s: %v", field, value, err)
		}
	}
	if _, err := NewPlan("outbox", s, Map{"topic": "'t'", "payload": "body"}, "k"); err == nil || !strings.Contains(err.Error(), "generated when it is read") {
		t.Errorf("in the order of it: %v", err)
	}
}
