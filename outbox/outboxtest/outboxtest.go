package outboxtest

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/outbox"
)

// Tx is the open transaction to look into. pgx.Tx is one; outbox.SQL makes one from a *sql.Tx.
type Tx interface {
	QueryRow(ctx context.Context, sql string, arguments ...any) pgx.Row
	Rollback(ctx context.Context) error
}

// Published returns the events that tx has written so far into the schema outbox, in the order in which they would be
// published if it committed now. It fails the test at once when they cannot be read. See [Reader].
func Published(t testing.TB, tx Tx) []outbox.Event {
	t.Helper()
	return Reader{}.Published(t, tx)
}

// Expect fails the test, and lets it go on, unless tx has written exactly the wanted events into the schema outbox, in
// this order. See [Reader.Expect].
func Expect(t testing.TB, tx Tx, want ...outbox.Event) {
	t.Helper()
	Reader{}.Expect(t, tx, want...)
}

// Reader says where to look. The zero Reader is what [Published] and [Expect] use.
type Reader struct {
	// Schema is the schema's name as it is, not quoted. Empty: outbox.
	Schema string
}

// publishedSQL answers with one JSON text, which both pgx and database/sql hand over. Payloads are strings in it, so
// their bytes stay what they are. The transaction's own xid sees rows of its savepoints too.
const publishedSQL = `select coalesce(json_agg(json_build_object('id', id, 'topic', topic, 'key', key, 'type', type,
    'payload', payload::text, 'payload_bytes', encode(payload_bytes, 'base64'), 'headers', headers, 'partition', partition,
    'deliver_at', deliver_at) order by seq), '[]')::text
from %s.events where xid = pg_current_xact_id_if_assigned()`

type row struct {
	ID           string            `json:"id"`
	Topic        string            `json:"topic"`
	Key          *string           `json:"key"`
	Type         string            `json:"type"`
	Payload      *string           `json:"payload"`
	PayloadBytes *string           `json:"payload_bytes"`
	Headers      map[string]string `json:"headers"`
	Partition    *int32            `json:"partition"`
	DeliverAt    time.Time         `json:"deliver_at"`
}

// Published returns the events that tx has written so far; see the function of that name. Every field is set as it
// would be published, ID included. Headers is nil when there are none.
func (r Reader) Published(t testing.TB, tx Tx) []outbox.Event {
	t.Helper()
	schema := pgx.Identifier{cmp.Or(r.Schema, "outbox")}.Sanitize()
	var text string
	if err := tx.QueryRow(t.Context(), fmt.Sprintf(publishedSQL, schema)).Scan(&text); err != nil {
		t.Fatalf("outboxtest: read the events of this transaction from %s.events: %v", schema, err)
	}
	var rows []row
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		t.Fatalf("outboxtest: understand the events of this transaction: %v", err)
	}
	events := make([]outbox.Event, len(rows))
	for i, row := range rows {
		event, err := row.event()
		if err != nil {
			t.Fatalf("outboxtest: understand event %d of this transaction: %v", i, err)
		}
		events[i] = event
	}
	return events
}

func (r row) event() (outbox.Event, error) {
	event := outbox.Event{ID: r.ID, Topic: r.Topic, Type: r.Type, Headers: r.Headers, Partition: r.Partition, DeliverAt: r.DeliverAt}
	if r.Key != nil {
		event.Key, event.EmptyKey = *r.Key, *r.Key == ""
	}
	switch {
	case r.Payload != nil:
		event.Payload = outbox.RawJSON([]byte(*r.Payload))
	case r.PayloadBytes != nil:
		// PostgreSQL breaks base64 into lines, which the decoder skips.
		value, err := base64.StdEncoding.DecodeString(*r.PayloadBytes)
		if err != nil {
			return outbox.Event{}, err
		}
		event.Payload = outbox.Binary(value)
	default:
		event.Payload = outbox.Tombstone()
	}
	return event, nil
}
