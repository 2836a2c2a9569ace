package relay

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

func headersOf(t testing.TB, text string) ([]publisher.Header, error) {
	t.Helper()
	m := newRecordMaker(HeaderNames{}, false)
	r, err := m.make(&store.Row{Headers: []byte(text), Partition: -1}, "t")
	return r.Headers, err
}

func TestRecord_HeadersInTheOrderTheyWereWritten(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                             ``,
		` { } `:                          ``,
		`{"a":"1"}`:                      `a="1" `,
		"{\n \"b\" : \"\" ,\"a\":\"x\"}": `b="" a="x" `,
		`{"a":"1","a":"2"}`:              `a="1" a="2" `,
		`{"a":null}`:                     `a=null `,
		`{"n": 1.50, "o": {"x": [1]}}`:   `n="1.50" o="{\"x\": [1]}" `,
		`{"q":"a\"b\u00e9\\"}`:           `q="a\"bé\\" `,
		`{"a":"1","q":"\n"}`:             `a="1" q="\n" `,
		`{"ключ":"значение"}`:            `ключ="значение" `,
	} {
		headers, err := headersOf(t, text)
		got := ""
		for _, h := range headers {
			value := "null"
			if h.Value != nil {
				quoted, _ := json.Marshal(string(h.Value))
				value = string(quoted)
			}
			got += h.Key + "=" + value + " "
		}
		if err != nil || got != want {
			t.Errorf("%s gives %s (%v), want %s", text, got, err, want)
		}
	}
}

func TestRecord_RefusesWhatIsNoObject(t *testing.T) {
	for _, text := range []string{`[]`, `"x"`, `1`, `null`, `{"a"}`, `{"a":}`, `{"a":"b"`, `{"a":"b",}`, ``} {
		if headers, err := headersOf(t, text); err == nil {
			t.Errorf("%q was taken as %v", text, headers)
		}
	}
}

// FuzzHeaders compares the flat scanner with encoding/json: whatever the scanner takes, the decoder must read alike.
func FuzzHeaders(f *testing.F) {
	for _, seed := range []string{`{"a":"1","b":""}`, `{"a":"\""}`, `{ }`, `{"a":1}`, `{"a":"b"} x`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return // PostgreSQL's json lets nothing else in
		}
		m := newRecordMaker(HeaderNames{}, false)
		scanned, ok := m.scan([]byte(text), nil)
		if !ok {
			return
		}
		decoded, err := decodeHeaders([]byte(text), nil)
		if err != nil || len(decoded) != len(scanned) {
			t.Fatalf("%q: scanned %v, decoded %v (%v)", text, scanned, decoded, err)
		}
		for i := range decoded {
			// Invalid UTF-8 cannot be in the table; the decoder replaces it.
			if string([]rune(scanned[i].Key)) != decoded[i].Key || string([]rune(string(scanned[i].Value))) != string(decoded[i].Value) {
				t.Fatalf("%q: header %d scanned %q, decoded %q", text, i, scanned[i], decoded[i])
			}
		}
	})
}

func TestRecord_MakesNoGarbage(t *testing.T) {
	m := newRecordMaker(HeaderNames{ID: "id", Type: "type", CreatedAt: "created_at"}, false)
	row := &store.Row{ID: [16]byte{1}, Type: []byte("Placed"), Headers: []byte(`{"traceparent": "00-1", "x": "y"}`),
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Partition: -1}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := m.make(row, "t"); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a record", n)
	}
	r, _ := m.make(row, "t")
	if string(r.Headers[0].Value) != "01000000-0000-0000-0000-000000000000" || string(r.Headers[2].Value) != "2026-01-02T03:04:05.000006Z" {
		t.Errorf("headers %s", r.Headers)
	}
}

// The fast way, for rows of one second, must write what the standard library writes, also for years that have not four
// digits, before and after others.
func TestRecord_TimestampsAreRFC3339(t *testing.T) {
	m := newRecordMaker(HeaderNames{}, false)
	second := time.Date(2026, 2, 28, 23, 59, 59, 0, time.UTC)
	times := []time.Time{{}, time.Unix(0, 0).UTC(), time.Date(-44, 3, 15, 0, 0, 0, 1000, time.UTC), time.Date(12345, 1, 1, 0, 0, 0, 999_999_000, time.UTC)}
	for micros := range 1000 {
		times = append(times, second.Add(time.Duration(micros*7919)*time.Microsecond))
	}
	for _, first := range times[:8] {
		for _, at := range times {
			_ = m.timestamp(first)
			if got, want := string(m.timestamp(at)), at.Format("2006-01-02T15:04:05.000000Z07:00"); got != want {
				t.Fatalf("%s was written as %s", want, got)
			}
		}
	}
}
