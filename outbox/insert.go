package outbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Tx is an open transaction. pgx.Tx is one; [SQL] makes one from a *sql.Tx.
//
// Rollback is never called. It is here because a pool and a connection do not have it: given one of those, an event
// would be written in a transaction of its own, which is the mistake an outbox exists to prevent.
type Tx interface {
	Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error)
	Rollback(ctx context.Context) error
}

// Insert writes the events into the schema outbox, in their order, in the transaction tx. See [Writer.Insert].
func Insert(ctx context.Context, tx Tx, events ...Event) error {
	return Writer{}.Insert(ctx, tx, events...)
}

// Writer says where events go, how large they may be, and what the relay adds to them. The zero Writer is what [Insert] uses.
type Writer struct {
	// Schema is the schema's name as it is, not quoted. Empty: outbox.
	Schema string

	// MaxBytes is the largest record that the topics take, in bytes, headers and all, uncompressed. 0:
	// DefaultMaxBytes. Negative: no limit here; the relay parks what the broker then refuses.
	MaxBytes int

	// Headers is what the relay's own headers are called: events cannot have others of these names, and they count in
	// the record's size. The zero value: id, type and created_at.
	Headers HeaderNames
}

// statementBytes is how much one statement carries. PostgreSQL would take 1 GiB, but it needs five times the statement
// in memory, so about 350 MB for this one; a hundred thousand events of 300 bytes fit.
const statementBytes = 64 << 20

// insertSQL takes one JSON array, in which payload and headers are strings: so their bytes stay what they are. Any
// driver can pass one text parameter, in any protocol mode. ROWS FROM keeps the array's order, and the defaults of seq
// and xid are evaluated on top of it, row by row.
const insertSQL = `insert into %s.events (id, topic, key, type, payload, payload_bytes, headers, partition, deliver_at)
select id, topic, key, type, payload::json, decode(payload_bytes, 'base64'), headers::json, partition, deliver_at
from rows from (json_to_recordset($1::text::json) as (id uuid, topic text, key text, type text, payload text,
     payload_bytes text, headers text, partition integer, deliver_at timestamptz))
     with ordinality as event (id, topic, key, type, payload, payload_bytes, headers, partition, deliver_at, n)
order by n`

// Insert writes the events in their order, in the transaction tx: all of them, or none and an error. Any number goes in
// one round trip, up to 64 MiB of text; beyond that it takes one more for each further 64 MiB. No events are no work.
//
// errors.Is finds [ErrInvalid] when events were refused; errors.As finds *[InvalidError] with every fault. Nothing was
// written then and the transaction is as it was. Any other error comes from the database, and the transaction can only
// be rolled back.
//
// The events are only read. Identities that Insert makes are not filled in; set ID from [NewID] to know one.
func (w Writer) Insert(ctx context.Context, tx Tx, events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	if err := validate(events, cmp.Or(w.MaxBytes, DefaultMaxBytes), w.Headers); err != nil {
		return fmt.Errorf("insert %s: %w", count(len(events)), err)
	}
	schema := pgx.Identifier{cmp.Or(w.Schema, "outbox")}.Sanitize()
	statement := fmt.Sprintf(insertSQL, schema)
	for len(events) > 0 {
		text, taken, err := encode(events)
		if err != nil {
			return fmt.Errorf("encode %s: %w", count(taken), err)
		}
		tag, err := tx.Exec(ctx, statement, text)
		if err != nil {
			return fmt.Errorf("insert %s into %s.events: %w%s", count(taken), schema, err, hint(err))
		}
		if written := tag.RowsAffected(); written != int64(taken) {
			return fmt.Errorf("insert %s into %s.events: the server wrote %d: look for a trigger or rule there that drops rows", count(taken), schema, written)
		}
		events = events[taken:]
	}
	return nil
}

func count(events int) string {
	if events == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", events)
}

// row is an element of the array that insertSQL takes. Left out is null.
type row struct {
	ID           string  `json:"id"`
	Topic        string  `json:"topic"`
	Key          *string `json:"key,omitempty"`
	Type         string  `json:"type,omitempty"`
	Payload      *string `json:"payload,omitempty"`
	PayloadBytes *string `json:"payload_bytes,omitempty"`
	Headers      string  `json:"headers,omitempty"`
	Partition    *int32  `json:"partition,omitempty"`
	DeliverAt    string  `json:"deliver_at,omitempty"`
}

// encode makes the statement's parameter from the first events, as many as fit, and at least one.
func encode(events []Event) (text string, taken int, err error) {
	var array bytes.Buffer
	encoder := json.NewEncoder(&array)
	encoder.SetEscapeHTML(false)
	array.WriteByte('[')
	for _, event := range events {
		before := array.Len()
		if taken > 0 {
			array.WriteByte(',')
		}
		r, err := event.row()
		if err != nil {
			return "", taken + 1, err
		}
		if err := encoder.Encode(r); err != nil {
			return "", taken + 1, err
		}
		if taken > 0 && array.Len() > statementBytes {
			array.Truncate(before)
			break
		}
		taken++
	}
	array.WriteByte(']')
	return array.String(), taken, nil
}

func (e Event) row() (row, error) {
	r := row{ID: cmp.Or(e.ID, NewID()), Topic: e.Topic, Type: e.Type, Partition: e.Partition}
	if e.Key != "" || e.EmptyKey {
		r.Key = &e.Key
	}
	switch e.Payload.kind {
	case jsonText:
		text := string(e.Payload.bytes)
		r.Payload = &text
	case binary:
		text := base64.StdEncoding.EncodeToString(e.Payload.bytes)
		r.PayloadBytes = &text
	}
	if len(e.Headers) > 0 {
		var text bytes.Buffer
		encoder := json.NewEncoder(&text) // sorts by name
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(e.Headers); err != nil {
			return row{}, err
		}
		r.Headers = string(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
	}
	if !e.DeliverAt.IsZero() {
		r.DeliverAt = e.DeliverAt.UTC().Format(time.RFC3339Nano)
	}
	return r, nil
}

// hint names the cure of what goes wrong on the first day. Both pgx and lib/pq tell the SQLSTATE this way.
func hint(err error) string {
	var server interface{ SQLState() string }
	if !errors.As(err, &server) {
		return ""
	}
	switch server.SQLState() {
	case "42P01", "3F000": // undefined table, schema
		return "; apply the migrations (relay migrate up), or name the schema (outbox.Writer)"
	case "42501": // insufficient privilege
		return "; let the role write events (relay migrate up --grant-writer ROLE)"
	}
	return ""
}
