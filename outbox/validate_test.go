package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outboxrelay/relay/outbox/internal/testdb"
)

func TestInsert_RefusesBeforeWriting(t *testing.T) {
	good := Event{Topic: "orders", Payload: JSON(1)}
	with := func(change func(*Event)) Event {
		e := good
		change(&e)
		return e
	}
	cases := []struct {
		event         Event
		field, reason string
	}{
		{with(func(e *Event) { e.Topic = "" }), "Topic", "missing"},
		{with(func(e *Event) { e.Topic = ".." }), "Topic", "refuses"},
		{with(func(e *Event) { e.Topic = "a b" }), "Topic", "' '"},
		{with(func(e *Event) { e.Topic = "ä" }), "Topic", "'ä'"},
		{with(func(e *Event) { e.Topic = "a\n" }), "Topic", `'\n'`},
		{with(func(e *Event) { e.Topic = strings.Repeat("a", 250) }), "Topic", "249"},
		{with(func(e *Event) { e.Key = "a\x00" }), "Key", "zero byte"},
		{with(func(e *Event) { e.Key = "\xff" }), "Key", "UTF-8"},
		{with(func(e *Event) { e.Key, e.EmptyKey = "a", true }), "EmptyKey", "choose one"},
		{with(func(e *Event) { e.Type = "\xff" }), "Type", "UTF-8"},
		{with(func(e *Event) { e.Type = "\x00" }), "Type", "zero byte"},
		{with(func(e *Event) { e.ID = "42" }), "ID", "UUID"},
		{with(func(e *Event) { e.ID = "0198c0de-0000-7000-8000-00000000000g" }), "ID", "UUID"},
		{with(func(e *Event) { e.ID = "0198c0de+0000-7000-8000-000000000000" }), "ID", "UUID"},
		{with(func(e *Event) { e.Payload = Payload{} }), "Payload", "missing"},
		{with(func(e *Event) { e.Payload = RawJSON(nil) }), "Payload", "empty"},
		{with(func(e *Event) { e.Payload = RawJSON([]byte(`{"a":secret}`)) }), "Payload", "byte 6"},
		{with(func(e *Event) { e.Payload = RawJSON([]byte("\"\xff\"")) }), "Payload", "UTF-8"},
		{with(func(e *Event) { e.Payload = JSON(json.RawMessage("\"\xff\"")) }), "Payload", "UTF-8"},
		{with(func(e *Event) { e.Payload = JSON(math.NaN()) }), "Payload", "NaN"},
		{with(func(e *Event) { e.Payload = JSON(make(chan int)) }), "Payload", "chan int"},
		{with(func(e *Event) { e.Headers = map[string]string{"": "a"} }), "Headers", "empty name"},
		{with(func(e *Event) { e.Headers = map[string]string{"id": "a"} }), `Headers["id"]`, "the relay"},
		{with(func(e *Event) { e.Headers = map[string]string{"type": "a"} }), `Headers["type"]`, "the relay"},
		{with(func(e *Event) { e.Headers = map[string]string{"created_at": "a"} }), `Headers["created_at"]`, "the relay"},
		{with(func(e *Event) { e.Headers = map[string]string{"a": "\xffsecret"} }), `Headers["a"]`, "UTF-8"},
		{with(func(e *Event) { e.Headers = map[string]string{"\xff": "a"} }), `Headers["\xff"]`, "UTF-8"},
		{with(func(e *Event) { e.Partition = Partition(-1) }), "Partition", "-1"},
		{with(func(e *Event) { e.DeliverAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }), "DeliverAt", "10000"},
		{with(func(e *Event) { e.Payload = Binary(make([]byte, 1<<20)) }), "Payload", "1048588"},
		{with(func(e *Event) { e.Key = strings.Repeat("k", 1<<20) }), "Key", "too large"},
		{with(func(e *Event) { e.Type = strings.Repeat("k", 1<<20) }), "Type", "too large"},
		{with(func(e *Event) { e.Headers = map[string]string{"a": strings.Repeat("k", 1<<20)} }), "Headers", "too large"},
	}
	for _, c := range cases {
		t.Run(c.field+" "+c.reason, func(t *testing.T) {
			// A transaction that would panic shows that nothing is asked of the database.
			err := Insert(t.Context(), nil, good, c.event)
			var invalid *InvalidError
			if !errors.Is(err, ErrInvalid) || !errors.As(err, &invalid) {
				t.Fatalf("got %v", err)
			}
			if len(invalid.Faults) != 1 {
				t.Fatalf("faults %v", invalid.Faults)
			}
			fault := invalid.Faults[0]
			if fault.Index != 1 || fault.Field != c.field || !strings.Contains(fault.Problem, c.reason) || fault.ID != c.event.ID {
				t.Errorf("fault %+v, want field %s and %q", fault, c.field, c.reason)
			}
			if strings.Contains(err.Error(), "secret") || len(err.Error()) > 1000 {
				t.Errorf("the error shows too much: %.1000s", err)
			}
		})
	}
}

func TestInsert_TellsAllFaultsAtOnce(t *testing.T) {
	err := Insert(t.Context(), nil,
		Event{Topic: "a b", Payload: JSON(1), Partition: Partition(-1)},
		Event{Topic: "orders", Payload: JSON(1)},
		Event{ID: NewID()},
	)
	var invalid *InvalidError
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	var got []string
	for _, f := range invalid.Faults {
		got = append(got, fmt.Sprint(f.Index, f.Field))
	}
	if want := []string{"0Topic", "0Partition", "2Topic", "2Payload"}; !slices.Equal(got, want) {
		t.Errorf("faults %v, want %v", got, want)
	}
	if invalid.Events != 3 || invalid.Faults[3].ID == "" || !strings.Contains(err.Error(), invalid.Faults[3].ID) {
		t.Errorf("%v", err)
	}

	err = Insert(t.Context(), nil, make([]Event, 1000)...)
	if !strings.Contains(err.Error(), "and 1990 more") {
		t.Errorf("%v", err)
	}
}

func TestInsert_RefusesTheSameIdentityTwice(t *testing.T) {
	id := NewID()
	err := Insert(t.Context(), nil, Event{ID: id, Topic: "a", Payload: JSON(1)}, Event{ID: strings.ToUpper(id), Topic: "a", Payload: JSON(1)})
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "event 0 too") {
		t.Errorf("got %v", err)
	}
}

func TestInsert_TakesWhatIsUnusualAndRight(t *testing.T) {
	tx := testdb.Begin(t)
	large := Writer{MaxBytes: 4 << 20}
	unlimited := Writer{MaxBytes: -1}
	for name, insert := range map[string]func(context.Context, Tx, ...Event) error{"default": Insert, "large": large.Insert, "unlimited": unlimited.Insert} {
		size := map[string]int{"default": 1<<20 - 1<<10, "large": 3 << 20, "unlimited": 5 << 20}[name]
		events := []Event{
			{Topic: "...", Payload: RawJSON([]byte(` null `))},
			{Topic: strings.Repeat("a", 249), Payload: JSON(nil)},
			{Topic: "orders", Payload: Tombstone()},
			{Topic: "orders", Payload: Binary(make([]byte, size)), Key: strings.Repeat("k", 64), Type: "OrderPlaced", Headers: map[string]string{"traceparent": strings.Repeat("0", 55)}},
			{Topic: "orders", Payload: JSON("ü\u2028"), Headers: map[string]string{"content-type": "", "ü": "ü"}},
			{Topic: "orders", Payload: JSON(1), DeliverAt: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)},
			{Topic: "orders", Payload: JSON(1), DeliverAt: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), Partition: Partition(math.MaxInt32)},
			{ID: "00000000-0000-0000-0000-000000000000", Topic: "orders", Payload: JSON(1)},
		}
		if err := insert(t.Context(), tx, events...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A relay with other names in [headers] leaves id, type and created_at to the event, and writes a second header of a name
// that the event has as well: consumers read the wrong one.
func TestWriter_FollowsTheNamesThatTheRelayHas(t *testing.T) {
	with := func(names ...string) Event {
		e := Event{Topic: "orders", Type: "OrderPlaced", Payload: JSON(1), Headers: map[string]string{}}
		for _, name := range names {
			e.Headers[name] = "mine"
		}
		return e
	}
	for _, c := range []struct {
		names HeaderNames
		event Event
		want  []string // the fields refused
	}{
		{HeaderNames{}, with("event-id", "created_at", "id", "type"), []string{`Headers["created_at"]`, `Headers["id"]`, `Headers["type"]`}},
		{HeaderNames{ID: "event-id"}, with("event-id", "id", "type"), []string{`Headers["event-id"]`, `Headers["type"]`}},
		{HeaderNames{Type: "eventType", CreatedAt: "at"}, with("at", "created_at", "eventType", "type"), []string{`Headers["at"]`, `Headers["eventType"]`}},
		{HeaderNames{ID: NoHeader, Type: NoHeader, CreatedAt: NoHeader}, with("created_at", "id", "type"), nil},
		{HeaderNames{ID: NoHeader}, with("", "id"), []string{"Headers"}},
	} {
		var invalid *InvalidError
		var got []string
		if errors.As(validate([]Event{c.event}, -1, c.names), &invalid) {
			for _, f := range invalid.Faults {
				got = append(got, f.Field)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: refused %q, want %q", c.names, got, c.want)
		}
	}

	// Writer hands its names on.
	w := Writer{Headers: HeaderNames{ID: "event-id"}}
	if err := w.Insert(t.Context(), nil, with("event-id"), Event{}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), `"event-id"`) {
		t.Errorf("%v", err)
	}
}

// The sizes follow the record batch of message format 2 (Kafka documentation, "Record Batch").
func TestRecordSize_IsWhatABrokerCounts(t *testing.T) {
	for n, want := range map[int]int{0: 1, 63: 1, 64: 2, 8191: 2, 8192: 3, 1 << 20: 4} {
		if got := varint(n); got != want {
			t.Errorf("varint(%d) takes %d bytes, want %d", n, got, want)
		}
	}
	// 61 + length 1 + (3 + key 1+2 + value 1+3 + count 1 + id 1+2+1+36 + created_at 1+10+1+27 + type 1+4+1+1 + a 1+1+1+1)
	// is 61 + 2 + 101: the length of 101 takes two bytes.
	event := Event{Topic: "orders", Key: "42", Type: "T", Payload: JSON(123), Headers: map[string]string{"a": "b"}}
	for names, want := range map[HeaderNames]int{
		{}:             61 + 2 + 101,
		{ID: "new-id"}: 61 + 2 + 105,
		{ID: NoHeader, Type: NoHeader, CreatedAt: NoHeader}: 61 + 1 + 15,
	} {
		if got := event.recordSize(names.inFull()); got != want {
			t.Errorf("%+v: %d bytes, want %d", names, got, want)
		}
	}
}

func TestNewID_IsAVersion7UUIDThatGrows(t *testing.T) {
	seen := map[string]bool{}
	before := time.Now().UnixMilli()
	for range 1000 {
		id := NewID()
		if !isUUID(id) || id[14] != '7' || !strings.ContainsRune("89ab", rune(id[19])) || seen[id] {
			t.Fatalf("%s", id)
		}
		seen[id] = true
	}
	var high, low int64
	if _, err := fmt.Sscanf(NewID(), "%08x-%04x", &high, &low); err != nil {
		t.Fatal(err)
	}
	if ms := high<<16 | low; ms < before || ms > time.Now().UnixMilli() {
		t.Errorf("its time is %d, not between %d and now", ms, before)
	}
}

func TestPayload_ShowsNothing(t *testing.T) {
	event := Event{Topic: "t", Payload: JSON("secret"), Headers: nil}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, event); strings.Contains(text, "secret") || strings.Contains(text, "115 101") || !strings.Contains(text, "json of 8 bytes") {
			t.Errorf("%s: %s", verb, text)
		}
	}
}
