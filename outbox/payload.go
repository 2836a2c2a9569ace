package outbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Payload is a record's value. Make one with [JSON], [RawJSON], [Binary] or [Tombstone]; the zero value stands for a
// payload that was forgotten, and [Insert] refuses it.
type Payload struct {
	kind  payloadKind
	bytes []byte
	err   error // why it cannot be written; told by Insert
}

type payloadKind uint8

const (
	missing payloadKind = iota
	jsonText
	binary
	tombstone
)

// JSON encodes v as encoding/json does, at once, but leaves <, > and & as they are. If v cannot be encoded, [Insert]
// says so. A nil pointer becomes the four characters null, which is a value; for a null record see [Tombstone].
func JSON(v any) Payload {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return Payload{kind: jsonText, err: err}
	}
	payload := Payload{kind: jsonText, bytes: bytes.TrimSuffix(text.Bytes(), []byte("\n"))}
	if !utf8.Valid(payload.bytes) { // a json.Marshaler's own text is taken as it is
		payload.err = errNotUTF8
	}
	return payload
}

// RawJSON is JSON text that is already encoded. It reaches Kafka byte for byte. The slice is not copied: leave it alone
// until Insert has returned.
func RawJSON(text []byte) Payload {
	return Payload{kind: jsonText, bytes: text, err: checkJSON(text)}
}

// Binary is a value of any bytes, such as Avro or Protobuf. No bytes are an empty value, not a tombstone. The slice is
// not copied: leave it alone until Insert has returned.
func Binary(value []byte) Payload {
	return Payload{kind: binary, bytes: value}
}

// Tombstone is the null value, by which a compacted topic forgets a key.
func Tombstone() Payload { return Payload{kind: tombstone} }

// Bytes returns the record's value: nil for a tombstone, not nil otherwise. The slice is the payload's own.
func (p Payload) Bytes() []byte {
	if p.bytes == nil && p.kind == binary {
		return []byte{}
	}
	return p.bytes
}

// IsJSON says that the payload was made by [JSON] or [RawJSON].
func (p Payload) IsJSON() bool { return p.kind == jsonText }

// IsTombstone says that the payload was made by [Tombstone].
func (p Payload) IsTombstone() bool { return p.kind == tombstone }

// IsZero says that the payload was not made at all.
func (p Payload) IsZero() bool { return p.kind == missing }

// String describes the payload without showing it, so that an event in a log gives nothing away.
func (p Payload) String() string {
	switch p.kind {
	case jsonText:
		return fmt.Sprintf("json of %d bytes", len(p.bytes))
	case binary:
		return fmt.Sprintf("binary of %d bytes", len(p.bytes))
	case tombstone:
		return "tombstone"
	}
	return "missing"
}

// GoString is String: %#v gives nothing away either.
func (p Payload) GoString() string { return p.String() }

var errNotUTF8 = errors.New("is not UTF-8")

// checkJSON asks for more than encoding/json: PostgreSQL refuses text that is not UTF-8.
func checkJSON(text []byte) error {
	if !utf8.Valid(text) {
		return errNotUTF8
	}
	if json.Valid(text) {
		return nil
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return errors.New("is empty, which is not JSON; a null record is outbox.Tombstone()")
	}
	var value json.RawMessage
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(text, &value), &syntax) {
		// Only the place: the syntax error's own text quotes the payload.
		return fmt.Errorf("is not JSON (byte %d)", syntax.Offset)
	}
	return errors.New("is not JSON")
}
