package migrations_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

// newOutbox makes a database with the schema outbox and returns its URL and a connection that looks into it.
func newOutbox(t *testing.T) (url string, conn *pgx.Conn) {
	t.Helper()
	url = postgres.NewDatabase(t)
	migrate.ForTest(t, url, "outbox")
	return url, connect(t, url)
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	exec(t, conn, "set search_path to outbox; set lock_timeout to '20s'")
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func text(t *testing.T, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	var s string
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

func TestEvents_RefuseWhatCanNeverBeDelivered(t *testing.T) {
	_, conn := newOutbox(t)
	refused := map[string][]string{
		"events_one_payload":      {`insert into events (topic, payload, payload_bytes) values ('t', '{}', '')`},
		"events_headers_object":   {`'[]'`, `'["a"]'`, `'"a"'`, `'1'`, `'null'`},
		"events_partition_number": {`insert into events (topic, partition) values ('t', -1)`},
		"events_topic_name":       {"", ".", "..", "a b", "a/b", "ä", "a\n", "\n", "a\nb", "*", strings.Repeat("a", 250)},
	}
	for constraint, cases := range refused {
		for _, c := range cases {
			sql, args := c, []any(nil)
			switch constraint {
			case "events_headers_object":
				sql = "insert into events (topic, headers) values ('t', " + c + ")"
			case "events_topic_name":
				sql, args = "insert into events (topic) values ($1)", []any{c}
			}
			_, err := conn.Exec(t.Context(), sql, args...)
			var server *pgconn.PgError
			if !errors.As(err, &server) || server.ConstraintName != constraint {
				t.Errorf("%s %q: %v, want %s to refuse it", sql, args, err, constraint)
			}
		}
	}
	for _, topic := range []string{"a", "...", "orders.placed-v2_X", strings.Repeat("a", 249)} {
		exec(t, conn, `insert into events (topic, headers, partition) values ($1, '{"a": "b"}', 0)`, topic)
	}
	if _, err := conn.Exec(t.Context(), `insert into events (topic) values (null)`); err == nil {
		t.Error("an event without a topic was taken")
	}
}

// The stored bytes are what was written, whatever a user typed.
func TestEvents_KeepPayloadBytes(t *testing.T) {
	_, conn := newOutbox(t)
	for _, payload := range []string{`{ "b":1,"a":1e3, "a":2}`, `"\u0000"`, `"\ud800"`, ` [1]`, `9007199254740993`} {
		if got := text(t, conn, `insert into events (topic, payload) values ('t', $1) returning payload::text`, payload); got != payload {
			t.Errorf("%s became %s", payload, got)
		}
	}
}

func TestEvents_SlotFollowsTheClock(t *testing.T) {
	_, conn := newOutbox(t)
	got := text(t, conn, `insert into events (topic) values ('t')
		returning concat(slot = floor(extract(epoch from now()) / 14400)::bigint % 8, ' ', tableoid::regclass::text = 'events_' || slot)`)
	if got != "t t" {
		t.Errorf("slot and partition: %s", got)
	}
}

// An insert that has drawn its number must already have its xid, in whatever order it names the columns: the anchors
// of the reader stand on it. The sequence is locked here, so the insert stops exactly where it draws.
func TestSeq_IsDrawnAfterTheXid(t *testing.T) {
	url, conn := newOutbox(t)
	insert := `insert into outbox.events (seq, slot, topic, xid) values (default, 0, 't', default), (default, 0, 't', default)`
	if !xidWhenDrawing(t, url, insert) {
		t.Error("the number was drawn before the transaction had its xid")
	}
	// And the obvious default does not do it, so this test can fail.
	exec(t, conn, `alter table events alter column seq set default nextval('outbox.events_seq')`)
	if xidWhenDrawing(t, url, insert) {
		t.Error("a plain nextval default passed: the test shows nothing")
	}
}

func xidWhenDrawing(t *testing.T, url, insert string) (hasXid bool) {
	t.Helper()
	locker, writer, watcher := connect(t, url), connect(t, url), connect(t, url)
	exec(t, locker, `begin; alter sequence events_seq cache 1`)
	pid := writer.PgConn().PID()
	done := make(chan error, 1)
	go func() {
		_, err := writer.Exec(t.Context(), insert)
		done <- err
	}()
	const waiting = `select count(*)::text from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'`
	eventually(t, "the insert draws its number", func() bool { return text(t, watcher, waiting, pid) == "1" })
	hasXid = text(t, watcher, `select (backend_xid is not null)::text from pg_stat_activity where pid = $1`, pid) == "true"
	exec(t, locker, `rollback`)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return hasXid
}

func eventually(t *testing.T, what string, claim func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !claim() {
		if time.Now().After(deadline) {
			t.Fatalf("after 20 s still not: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

const (
	doorbellKey = `7090210, ('outbox.events_seq'::regclass::oid::bigint - 2147483648)::integer`
	insertEvent = `insert into outbox.events (topic, payload) values ('t', '{}')`
)

func TestDoorbell_RingsOnlyWhileTheRelaySleeps(t *testing.T) {
	url, relay := newOutbox(t)
	writer := connect(t, url)
	exec(t, relay, `listen "`+text(t, relay, `select 'outbox_' || 'outbox.events_seq'::regclass::oid`)+`"`)

	// Awake: nobody notifies. A marker of our own shows that nothing came before it.
	exec(t, writer, insertEvent)
	expectNotifications(t, relay, writer, 0)

	// Asleep: one transaction rings once, however many rows it has, and a rolled-back one does not.
	exec(t, relay, `select pg_advisory_lock(`+doorbellKey+`)`)
	exec(t, writer, `begin; `+strings.Repeat(insertEvent+";", 3)+` commit`)
	expectNotifications(t, relay, writer, 1)
	exec(t, writer, `begin; `+insertEvent+`; rollback`)
	expectNotifications(t, relay, writer, 0)

	exec(t, relay, `select pg_advisory_unlock(`+doorbellKey+`)`)
	exec(t, writer, insertEvent)
	expectNotifications(t, relay, writer, 0)
}

// expectNotifications counts what arrives before a marker that the writer sends now.
func expectNotifications(t *testing.T, relay, writer *pgx.Conn, want int) {
	t.Helper()
	exec(t, relay, `listen marker`)
	exec(t, writer, `notify marker`)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for got := 0; ; got++ {
		n, err := relay.WaitForNotification(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if n.Channel == "marker" {
			if got != want {
				t.Errorf("%d notifications, want %d", got, want)
			}
			return
		}
	}
}

// A sleeping relay must not get its lock while a writer that did not ring is still open, and writers never wait for it.
func TestDoorbell_AnOpenWriterKeepsTheRelayAwake(t *testing.T) {
	url, relay := newOutbox(t)
	writer, other := connect(t, url), connect(t, url)
	exec(t, writer, `begin; `+insertEvent)
	if got := text(t, relay, `select pg_try_advisory_lock(`+doorbellKey+`)::text`); got != "false" {
		t.Error("the relay fell asleep beside a writer that will not ring")
	}
	exec(t, other, `set lock_timeout = '1ms'; `+insertEvent)
	exec(t, writer, `commit`)
	if got := text(t, relay, `select pg_try_advisory_lock(`+doorbellKey+`)::text`); got != "true" {
		t.Error("the relay cannot sleep though no writer is open")
	}
	exec(t, other, insertEvent) // still no wait: it rings instead
}

// Two outboxes in one database do not ring for each other.
func TestDoorbell_BelongsToItsSchema(t *testing.T) {
	url, relay := newOutbox(t)
	migrate.ForTest(t, url, "second")
	exec(t, relay, `select pg_advisory_lock(`+doorbellKey+`)`)
	writer := connect(t, url)
	exec(t, relay, `listen "`+text(t, relay, `select 'outbox_' || 'second.events_seq'::regclass::oid`)+`"`)
	exec(t, writer, strings.ReplaceAll(insertEvent, "outbox.", "second."))
	expectNotifications(t, relay, writer, 0)
}
