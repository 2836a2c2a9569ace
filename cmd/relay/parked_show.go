package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/cobra"
)

// parkedWhole is a parked event with all that it holds. The payload is in Payload when it is text, else in
// PayloadBase64; Kind says what kind of payload it is.
type parkedWhole struct {
	parkedEvent
	Headers       json.RawMessage `json:"headers"` // an object, or null
	Kind          string          `json:"payload_kind"`
	Payload       *string         `json:"payload"`
	PayloadBase64 string          `json:"payload_base64,omitempty"`
	Omitted       bool            `json:"payload_omitted,omitempty"` // it is there, and too large for who asked
	PayloadLength int64           `json:"payload_length,omitempty"`  // in bytes, of one that is omitted

	payload []byte
	length  int64 // of a payload that may have been left where it is
}

// The kinds of payload.
const (
	payloadJSON      = "json"
	payloadBytes     = "bytes"
	payloadTombstone = "tombstone"
)

const parkedWholeColumns = parkedColumns + `, headers::text, payload::text, payload_bytes, 0`

// parkedOutlineColumns tell which payload there is, and leave it where it is.
const parkedOutlineColumns = parkedColumns + `, headers::text, case when payload is not null then '' end,
       case when payload_bytes is not null then ''::bytea end, 0`

// parkedShortColumns leave a payload where it is that has more bytes than %[1]d, and tell how many.
const parkedShortColumns = parkedColumns + `, headers::text,
       case when octet_length(payload::text) <= %[1]d then payload::text when payload is not null then '' end,
       case when octet_length(payload_bytes) <= %[1]d then payload_bytes when payload_bytes is not null then ''::bytea end,
       coalesce(octet_length(payload::text), octet_length(payload_bytes), 0)`

// scanWhole reads a row of parkedWholeColumns, parkedOutlineColumns or parkedShortColumns.
func scanWhole(row pgx.CollectableRow) (*parkedWhole, error) {
	var e parkedWhole
	var headers, text *string
	var binary []byte
	if err := row.Scan(append(e.targets(), &headers, &text, &binary, &e.length)...); err != nil {
		return nil, err
	}
	e.utc()
	if headers != nil {
		e.Headers = json.RawMessage(*headers)
	}
	switch {
	case text != nil:
		e.Kind, e.payload = payloadJSON, []byte(*text)
	case binary != nil:
		e.Kind, e.payload = payloadBytes, binary
	default:
		e.Kind = payloadTombstone
	}
	e.Payload, e.PayloadBase64 = textOrBase64(e.payload)
	return &e, nil
}

func newParkedShowCommand(g *globals) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show a parked event with its headers and its payload",
		Long: `Shows everything of one parked event. A payload that is no text is shown in hexadecimal.

--json prints one document of the same form as relay parked list, with headers and payload besides; a payload that is
no text is in payload_base64. There is more than one event in it when the event is also to be replayed, or when
applications gave one id to several.`,
		Args: oneEventID,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			p, err := g.openParked(ctx, "show")
			if err != nil {
				return err
			}
			defer closePostgres(p.conn)
			ids, err := eventIDs(args)
			if err != nil {
				return err
			}
			events, err := p.whole(ctx, p.conn, ids[0], "")
			if err != nil {
				return p.explain(err)
			}
			if len(events) == 0 {
				return p.notParked(args[0])
			}
			if asJSON {
				return printJSON(g.stdout, map[string]any{"outbox": p.name, "matched": len(events), "shown": len(events), "events": events})
			}
			for i, e := range events {
				if i > 0 {
					fmt.Fprintln(g.stdout)
				}
				g.printWhole(e)
			}
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (p *parkedTable) notParked(id string) error {
	return &notParkedError{fmt.Sprintf("no event %s is parked in outbox %q: it was delivered or dropped, or never had to wait", id, p.name)}
}

// notParkedError is about an event that is not in the table.
type notParkedError struct{ text string }

func (e *notParkedError) Error() string { return e.text }

// rowReader is a connection or a transaction.
type rowReader interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// whole reads the parked events with this id; suffix narrows that, and locks.
func (p *parkedTable) whole(ctx context.Context, from rowReader, id pgtype.UUID, suffix string, args ...any) ([]*parkedWhole, error) {
	columns := parkedWholeColumns
	switch {
	case p.shownBytes == noPayloads:
		columns = parkedOutlineColumns
	case p.shownBytes != allPayloads:
		columns = fmt.Sprintf(parkedShortColumns, p.shownBytes)
	}
	rows, err := from.Query(ctx, "select "+columns+" from parked where name = $1 and id = $2 "+suffix,
		append([]any{p.name, id}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("read the parked event: %w", err)
	}
	room := int64(p.shownBytes)
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*parkedWhole, error) {
		e, err := scanWhole(row)
		if err != nil || p.shownBytes == noPayloads || p.shownBytes == allPayloads {
			return e, err
		}
		// Of all events together: applications may give one id to any number.
		length := max(e.length, int64(len(e.payload)))
		if length > room {
			e.payload, e.Payload, e.PayloadBase64 = nil, nil, ""
			e.Omitted, e.PayloadLength = true, length
			return e, nil
		}
		room -= length
		return e, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the parked event: %w", err)
	}
	return events, nil
}

func (g *globals) printWhole(e *parkedWhole) {
	s := g.styleFor(g.stdout)
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", label, fmt.Sprintf(format, args...))
	}
	line("event", "%s, seq %d", s.bold(e.ID), e.Seq)
	line("state", "%s", paintState(s, e.State))
	if e.Reason != "" {
		line("reason", "%s", readable([]byte(e.Reason), false))
	}
	line("topic", "%s", e.Topic)
	line("key", "%s", optional(e.Key))
	line("type", "%s", optional(e.Type))
	if e.Partition != nil {
		line("partition", "%d", *e.Partition)
	}
	line("due", "%s", localTime(e.DueAt))
	line("parked", "%s, %s ago, %s", localTime(e.ParkedAt), ago(time.Since(e.ParkedAt.Time)), count(e.Attempts, "attempt"))
	line("created", "%s", localTime(e.CreatedAt))
	if e.LetteredAt.Valid {
		line("copied", "%s, to the dead-letter topic", localTime(e.LetteredAt))
	}
	line("headers", "%s", headersInWords(e.Headers))
	line("payload", "%s\n%s", payloadInWords(e), payloadForPeople(e.payload))
	fmt.Fprint(g.stdout, b.String())
}

func optional(text *string) string {
	if text == nil {
		return "null"
	}
	return readable([]byte(*text), true)
}

// headersInWords lists headers as relay tail does. What is no object of strings is shown as it is stored.
func headersInWords(headers json.RawMessage) string {
	if headers == nil {
		return "none"
	}
	list, err := parseHeaders(headers)
	if err != nil || len(list) == 0 {
		return readable(headers, false)
	}
	words := make([]string, len(list))
	for i, h := range list {
		var text string
		if json.Unmarshal(h.value, &text) != nil {
			text = string(h.value)
		}
		words[i] = readable([]byte(h.name), true) + "=" + readable([]byte(text), true)
	}
	return strings.Join(words, " ")
}

func payloadInWords(e *parkedWhole) string {
	switch e.Kind {
	case payloadTombstone:
		return "none, a tombstone"
	case payloadJSON:
		return "JSON, " + bytesInWords(int64(len(e.payload)))
	}
	return bytesInWords(int64(len(e.payload)))
}

// payloadForPeople is the text as it is, line breaks and all. A terminal must not be steered by what somebody wrote,
// so other control characters are escaped; what is no text is dumped.
func payloadForPeople(payload []byte) string {
	if payload == nil {
		return ""
	}
	if !utf8.Valid(payload) {
		return hex.Dump(payload)
	}
	steers := func(r rune) bool { return !unicode.IsPrint(r) && !strings.ContainsRune(" \t\n", r) }
	if text := string(payload); !strings.ContainsFunc(text, steers) {
		return text + "\n"
	}
	return readable(payload, false) + "\n"
}
