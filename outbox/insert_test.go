package outbox

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/outboxrelay/relay/outbox/internal/testdb"
)

// counting counts the statements, each of which is a round trip.
type counting struct {
	Tx
	statements int
}

func (c *counting) Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error) {
	c.statements++
	return c.Tx.Exec(ctx, sql, arguments...)
}

// stored is a row as the database has it.
type stored struct {
	ID, Topic      string
	Key, Type      *string
	Payload        *string
	PayloadBytes   []byte
	Headers        *string
	Partition      *int32
	DeliverAt      *time.Time
	Seq, Slot, Xid bool
}

func storedRows(t *testing.T, tx pgx.Tx, schema string) []stored {
	t.Helper()
	rows, err := tx.Query(t.Context(), `select id::text, topic, key, type, payload::text, payload_bytes, headers::text, partition, deliver_at,
		seq is not null, slot is not null, xid = pg_current_xact_id() from `+pgx.Identifier{schema}.Sanitize()+`.events
		where xid = pg_current_xact_id() order by seq`)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[stored])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func show(s *string) string {
	if s == nil {
		return "null"
	}
	return fmt.Sprintf("%q", *s)
}

func TestInsert_WritesEveryFieldAsGiven(t *testing.T) {
	tx := testdb.Begin(t)
	id := "0198C0DE-0000-7000-8000-00000000000A"
	at := time.Date(2031, 2, 3, 4, 5, 6, 789123000, time.FixedZone("", 5400))
	raw := "{ \"b\":1, \"a\":1e3,\"x\":\"\\u0000\\ud800 <&> \u2028 \x7f ' \\\\ \" }"
	headers := map[string]string{"z": "1", "a": "<ü \"quoted\">\x00\n", "traceparent": "00-01"}
	err := Insert(t.Context(), tx,
		Event{ID: id, Topic: "orders", Key: "4'2\\", Type: "Order\"Placed", Payload: RawJSON([]byte(raw)), Headers: headers, Partition: Partition(0), DeliverAt: at},
		Event{Topic: "orders", Payload: Binary([]byte{0, 0xff, '\n'})},
		Event{Topic: "orders", EmptyKey: true, Payload: Binary(nil)},
		Event{Topic: "orders", Key: "k", Payload: Tombstone(), Headers: map[string]string{}},
		Event{Topic: "orders", Payload: JSON(map[string]any{"a": "<b>"})},
	)
	if err != nil {
		t.Fatal(err)
	}
	rows := storedRows(t, tx, "outbox")
	if len(rows) != 5 {
		t.Fatalf("%d rows", len(rows))
	}
	first := rows[0]
	if first.ID != strings.ToLower(id) || first.Topic != "orders" || *first.Key != "4'2\\" || *first.Type != "Order\"Placed" ||
		*first.Payload != raw || *first.Partition != 0 || !first.DeliverAt.Equal(at) || first.PayloadBytes != nil {
		t.Errorf("first row: %+v, payload %s", first, show(first.Payload))
	}
	if want := `{"a":"<ü \"quoted\">\u0000\n","traceparent":"00-01","z":"1"}`; *first.Headers != want {
		t.Errorf("headers %s, want %s", *first.Headers, want)
	}
	if r := rows[1]; !bytes.Equal(r.PayloadBytes, []byte{0, 0xff, '\n'}) || r.Payload != nil || r.Key != nil || r.Type != nil || r.Headers != nil || r.Partition != nil || r.DeliverAt != nil {
		t.Errorf("binary: %+v", r)
	}
	if r := rows[2]; r.PayloadBytes == nil || len(r.PayloadBytes) != 0 || r.Key == nil || *r.Key != "" {
		t.Errorf("empty value, empty key: %+v", r)
	}
	if r := rows[3]; r.PayloadBytes != nil || r.Payload != nil || *r.Key != "k" || r.Headers != nil {
		t.Errorf("tombstone: %+v", r)
	}
	if r := rows[4]; *r.Payload != `{"a":"<b>"}` || !isUUID(r.ID) {
		t.Errorf("json: %+v %s", r, show(r.Payload))
	}
	for _, r := range rows {
		if !r.Seq || !r.Slot || !r.Xid {
			t.Errorf("a default is missing: %+v", r)
		}
	}
}

func TestInsert_AnyNumberKeepsItsOrderInOneRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 2, 1000, 100_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			tx := testdb.Begin(t)
			events := make([]Event, n)
			for i := range events {
				events[i] = Event{Topic: "orders", Key: fmt.Sprint(i % 10), Payload: JSON(map[string]any{"n": i, "pad": strings.Repeat("x", 200)})}
			}
			counted := &counting{Tx: tx}
			if err := Insert(t.Context(), counted, events...); err != nil {
				t.Fatal(err)
			}
			if want := min(n, 1); counted.statements != want {
				t.Errorf("%d statements, want %d", counted.statements, want)
			}
			var rows, inOrder, ids int
			err := tx.QueryRow(t.Context(), `select count(*), count(*) filter (where n = (payload->>'n')::int), count(distinct id)
				from (select id, payload, row_number() over (order by seq) - 1 as n from outbox.events where xid = pg_current_xact_id()) e`).Scan(&rows, &inOrder, &ids)
			if err != nil || rows != n || inOrder != n || ids != n {
				t.Errorf("%d rows, %d in order, %d ids, %v; want %d", rows, inOrder, ids, err, n)
			}
		})
	}
}

func TestInsert_BeyondAStatementGoesOnInTheNext(t *testing.T) {
	tx := testdb.Begin(t)
	counted := &counting{Tx: tx}
	payload := Binary(bytes.Repeat([]byte{7}, 1<<20-1<<10))
	events := make([]Event, 64)
	for i := range events {
		events[i] = Event{Topic: "large", Key: fmt.Sprint(i), Payload: payload}
	}
	if err := Insert(t.Context(), counted, events...); err != nil {
		t.Fatal(err)
	}
	if counted.statements != 2 {
		t.Errorf("%d statements for 64 binary payloads of almost 1 MiB, want 2", counted.statements)
	}
	var rows, inOrder int
	if err := tx.QueryRow(t.Context(), `select count(*), count(*) filter (where n::text = key and octet_length(payload_bytes) = 1048576 - 1024)
		from (select *, row_number() over (order by seq) - 1 as n from outbox.events where xid = pg_current_xact_id()) e`).Scan(&rows, &inOrder); err != nil || rows != 64 || inOrder != 64 {
		t.Errorf("%d rows, %d whole and in order, %v", rows, inOrder, err)
	}
}

func TestInsert_ThroughEveryProtocolMode(t *testing.T) {
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(mode.String(), func(t *testing.T) {
			config, err := pgx.ParseConfig(os.Getenv("DATABASE_URL"))
			if err != nil {
				t.Fatal(err)
			}
			config.DefaultQueryExecMode = mode
			conn, err := pgx.ConnectConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := Insert(t.Context(), tx, Event{Topic: "orders", Key: `'; \ "`, Payload: RawJSON([]byte(`{"a": "'\\ü$1"}`))}); err != nil {
					t.Fatal(err)
				}
			}
			rows := storedRows(t, tx, "outbox")
			if len(rows) != 2 || *rows[0].Payload != `{"a": "'\\ü$1"}` || *rows[0].Key != `'; \ "` {
				t.Errorf("%+v", rows)
			}
			var prepared int
			if err := tx.QueryRow(t.Context(), `select count(*) from pg_prepared_statements where statement like 'insert into%'`, pgx.QueryExecModeSimpleProtocol).Scan(&prepared); err != nil {
				t.Fatal(err)
			}
			if cached := mode == pgx.QueryExecModeCacheStatement; (prepared > 0) != cached {
				t.Errorf("%d prepared statements", prepared)
			}
		})
	}
}

func TestInsert_ThroughDatabaseSQL(t *testing.T) {
	config, err := pgx.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := Insert(t.Context(), SQL(tx), Event{Topic: "sqltx", Payload: JSON(1)}, Event{Topic: "sqltx", Payload: Binary([]byte{0})}); err != nil {
		t.Fatal(err)
	}
	const query = `select count(*) from outbox.events where topic = 'sqltx'`
	var inside, after int
	if err := tx.QueryRow(query).Scan(&inside); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow(query).Scan(&after); err != nil {
		t.Fatal(err)
	}
	if inside != 2 || after != 0 {
		t.Errorf("%d rows in the transaction, %d after it was rolled back", inside, after)
	}
	if err := Insert(t.Context(), SQL(tx), Event{Topic: "late", Payload: JSON(1)}); !errors.Is(err, sql.ErrTxDone) {
		t.Errorf("after the end: %v", err)
	}
}

func TestWriter_QuotesItsSchema(t *testing.T) {
	schema := `we"ird Schema`
	if err := testdb.Migrate(t.Context(), os.Getenv("DATABASE_URL"), schema); err != nil {
		t.Fatal(err)
	}
	tx := testdb.Begin(t)
	if err := (Writer{Schema: schema}).Insert(t.Context(), tx, Event{Topic: "orders", Payload: JSON(1)}); err != nil {
		t.Fatal(err)
	}
	if rows := storedRows(t, tx, schema); len(rows) != 1 {
		t.Errorf("%d rows", len(rows))
	}
}

func TestInsert_DatabaseErrorsNameTheCure(t *testing.T) {
	conn := testdb.Connect(t)
	event := Event{Topic: "orders", Key: "secret-key", Payload: JSON("secret-payload")}
	cases := []struct{ name, before, schema, want string }{
		{"no schema", `select 1`, "nowhere", "relay migrate up"},
		{"no rights", `create role bare; set local role bare`, "outbox", "--grant-writer"},
		{"rows dropped", `create function nothing() returns trigger language plpgsql as 'begin return null; end';
			create trigger drops before insert on outbox.events for each row execute function nothing()`, "outbox", "the server wrote 0"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(context.Background())
			if _, err := tx.Exec(t.Context(), c.before); err != nil {
				t.Fatal(err)
			}
			err = Writer{Schema: c.schema}.Insert(t.Context(), tx, event)
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, want %q in it and no secret", err, c.want)
			}
		})
	}
}

// The library writes with the writer's rights, which do not include reading.
func TestInsert_NeedsNoMoreThanTheWritersRights(t *testing.T) {
	tx := testdb.Begin(t)
	if _, err := tx.Exec(t.Context(), `create role narrow; grant usage on schema outbox to narrow;
		grant insert (id, topic, key, type, payload, payload_bytes, headers, partition, deliver_at) on outbox.events to narrow;
		grant usage on sequence outbox.events_seq to narrow; set local role narrow`); err != nil {
		t.Fatal(err)
	}
	if err := Insert(t.Context(), tx, Event{Topic: "orders", Key: "1", Type: "T", Payload: JSON(1), Headers: map[string]string{"a": "b"}, Partition: Partition(1), DeliverAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
}
