package relay

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

// HeaderNames are the names of the standard headers; "" leaves one out.
type HeaderNames struct{ ID, Type, CreatedAt string }

// recordMaker turns rows into records without allocating: the record it returns is valid until the next call.
type recordMaker struct {
	names     HeaderNames
	rowTime   bool // the record's timestamp is the row's, not the time of publishing
	record    publisher.Record
	id        [36]byte
	createdAt []byte            // of the row before, in RFC 3339 with microseconds
	second    int64             // of Unix time, which createdAt shows
	known     map[string]string // header names seen, so that a row's header name need not be allocated again
}

const maxKnownHeaders = 1000

func newRecordMaker(names HeaderNames, rowTime bool) *recordMaker {
	return &recordMaker{names: names, rowTime: rowTime, known: map[string]string{}}
}

// make builds the record of a row. The error is one of the row's headers: they are no JSON object.
func (m *recordMaker) make(row *store.Row, topic string) (*publisher.Record, error) {
	r := &m.record
	r.Topic, r.Partition, r.Key, r.Value = topic, row.Partition, row.Key, row.Value()
	r.Timestamp = time.Time{}
	if m.rowTime {
		r.Timestamp = row.CreatedAt
	}
	r.Headers = r.Headers[:0]
	if m.names.ID != "" {
		r.Headers = append(r.Headers, publisher.Header{Key: m.names.ID, Value: formatUUID(&m.id, row.ID)})
	}
	if m.names.Type != "" && row.Type != nil {
		r.Headers = append(r.Headers, publisher.Header{Key: m.names.Type, Value: row.Type})
	}
	if m.names.CreatedAt != "" {
		r.Headers = append(r.Headers, publisher.Header{Key: m.names.CreatedAt, Value: m.timestamp(row.CreatedAt)})
	}
	if row.Headers == nil {
		return r, nil
	}
	var ok bool
	if r.Headers, ok = m.scan(row.Headers, r.Headers); ok {
		return r, nil
	}
	var err error
	r.Headers, err = decodeHeaders(row.Headers, r.Headers)
	return r, err
}

// microsAt is where the six digits of a second's fraction stand in a timestamp of a year with four digits.
const microsAt = len("2006-01-02T15:04:05.")

// timestamp writes a time in UTC. Rows that follow each other are mostly of the same second: of those only the fraction
// is written anew.
func (m *recordMaker) timestamp(t time.Time) []byte {
	second, micros := t.Unix(), t.Nanosecond()/1000
	if second != m.second || len(m.createdAt) != microsAt+len("000000Z") {
		m.createdAt = t.AppendFormat(m.createdAt[:0], "2006-01-02T15:04:05.000000Z07:00")
		m.second = second
		return m.createdAt
	}
	for i := microsAt + 5; i >= microsAt; i-- {
		m.createdAt[i] = byte('0' + micros%10)
		micros /= 10
	}
	return m.createdAt
}

// formatUUID writes the canonical text of id into buf.
func formatUUID(buf *[36]byte, id [16]byte) []byte {
	hex.Encode(buf[0:8], id[0:4])
	hex.Encode(buf[9:13], id[4:6])
	hex.Encode(buf[14:18], id[6:8])
	hex.Encode(buf[19:23], id[8:10])
	hex.Encode(buf[24:36], id[10:16])
	buf[8], buf[13], buf[18], buf[23] = '-', '-', '-', '-'
	return buf[:]
}

// scan appends the headers of a flat object whose names and values are strings without escapes, pointing into text.
// Anything else is left to decodeHeaders: then ok is false and headers are as they were.
func (m *recordMaker) scan(text []byte, headers []publisher.Header) (_ []publisher.Header, ok bool) {
	kept := headers
	s := skipSpace(text)
	if len(s) == 0 || s[0] != '{' {
		return kept, false
	}
	s = skipSpace(s[1:])
	if len(s) > 0 && s[0] == '}' {
		return kept, len(skipSpace(s[1:])) == 0
	}
	for {
		var name, value []byte
		if name, s, ok = plainString(s); !ok {
			return kept, false
		}
		if s = skipSpace(s); len(s) == 0 || s[0] != ':' {
			return kept, false
		}
		if value, s, ok = plainString(skipSpace(s[1:])); !ok {
			return kept, false
		}
		headers = append(headers, publisher.Header{Key: m.name(name), Value: value})
		if s = skipSpace(s); len(s) == 0 {
			return kept, false
		}
		if s[0] == '}' && len(skipSpace(s[1:])) == 0 {
			return headers, true
		}
		if s[0] != ',' {
			return kept, false
		}
		s = skipSpace(s[1:])
	}
}

func (m *recordMaker) name(b []byte) string {
	if name, ok := m.known[string(b)]; ok {
		return name
	}
	name := string(b)
	if len(m.known) < maxKnownHeaders {
		m.known[name] = name
	}
	return name
}

func skipSpace(s []byte) []byte {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t' || s[0] == '\n' || s[0] == '\r') {
		s = s[1:]
	}
	return s
}

// plainString reads a JSON string that holds no escape. value is never nil.
func plainString(s []byte) (value, rest []byte, ok bool) {
	if len(s) < 2 || s[0] != '"' {
		return nil, s, false
	}
	end := bytes.IndexByte(s[1:], '"')
	if end < 0 || bytes.IndexByte(s[1:1+end], '\\') >= 0 {
		return nil, s, false
	}
	return s[1 : 1+end : 1+end], s[end+2:], true
}

// decodeHeaders reads any JSON object in the order it was written, with repeated names. A string is its characters,
// null is Kafka's null, anything else its JSON text.
func decodeHeaders(text []byte, headers []publisher.Header) ([]publisher.Header, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return headers, fmt.Errorf("headers are not a JSON object")
	}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return headers, fmt.Errorf("headers are not a JSON object: %w", err)
		}
		name, _ := token.(string)
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return headers, fmt.Errorf("headers are not a JSON object: %w", err)
		}
		value := []byte(raw)
		switch {
		case raw[0] == '"':
			var s string
			if err := json.Unmarshal(raw, &s); err != nil {
				return headers, fmt.Errorf("header %q is not a JSON string: %w", name, err)
			}
			value = []byte(s)
		case string(raw) == "null":
			value = nil
		}
		headers = append(headers, publisher.Header{Key: name, Value: value})
	}
	if _, err := d.Token(); err != nil {
		return headers, fmt.Errorf("headers are not a JSON object: %w", err)
	}
	return headers, nil
}
