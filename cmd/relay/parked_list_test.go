package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// park adds an event to parked. Its id ends in its seq.
func park(t *testing.T, conn *pgx.Conn, seq int, state, topic, key, reason string) {
	t.Helper()
	execute(t, conn, `insert into outbox.parked (name, seq, state, reason, due_at, id, topic, key, type, payload, headers, created_at)
		values ('main', $1::int, $2, $3, '2030-01-01Z'::timestamptz - make_interval(hours => $1::int), $4, $5, nullif($6, 'null'), 'Placed', '{"n": 1}', '{"a": "b", "c": "d"}', '2026-01-02 03:04:05Z')`,
		seq, state, reason, parkedID(seq), topic, key)
}

func parkedID(seq int) string { return fmt.Sprintf("0198c0de-0000-7000-8000-%012d", seq) }

// parkSome adds one event a state, and one of another outbox. The higher the seq the earlier it is due.
func parkSome(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	park(t, conn, 1, "dead", "orders", "42", "too_large: 2000000 bytes")
	park(t, conn, 2, "behind", "orders", "42", "an earlier event of the key is dead")
	park(t, conn, 3, "held", "payments", "null", "no_topic: the topic does not exist")
	park(t, conn, 4, "scheduled", "orders", "", "")
	park(t, conn, 5, "replay", "orders", "43", "")
	execute(t, conn, `insert into outbox.parked (name, seq, state, id, topic, created_at) values ('second', 9, 'dead', $1, 'orders', now())`, parkedID(9))
}

func query(t *testing.T, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	var text string
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&text); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}

// parkedList is what list and show print with --json.
type parkedList struct {
	Outbox         string
	Matched, Shown int
	Events         []struct {
		ID      string
		Seq     int64
		Kind    string `json:"payload_kind"`
		Payload *string
	}
}

func (l parkedList) seqs() string {
	var seqs []string
	for _, e := range l.Events {
		seqs = append(seqs, fmt.Sprint(e.Seq))
	}
	return fmt.Sprintf("%s of %d", strings.Join(seqs, " "), l.Matched)
}

func TestParkedList_FiltersAndOrders(t *testing.T) {
	env, conn := database(t)
	parkSome(t, conn)
	cases := []struct{ args, want string }{
		{"", "5 4 3 2 1 of 5"},
		{"--limit 2", "5 4 of 5"},
		{"--limit 0", "5 4 3 2 1 of 5"},
		{"--state dead", "1 of 1"},
		{"--topic orders", "5 4 2 1 of 4"},
		{"--topic orders --key 42 --limit 1", "2 of 2"},
		{"--key=", "4 of 1"},
		{"--reason too_large", "1 of 1"},
		{"--reason _oo", " of 0"},
		{"--reason large", " of 0"},
	}
	for _, c := range cases {
		out := runRelay(t, env, append([]string{"parked", "list", "--json"}, strings.Fields(c.args)...)...).wants(t, exitDone)
		if got := decode[parkedList](t, out); got.seqs() != c.want || got.Shown != len(got.Events) || got.Outbox != "main" || got.Events == nil {
			t.Errorf("%s: %s, shown %d, want %s", c.args, got.seqs(), got.Shown, c.want)
		}
	}
	if got := decode[parkedList](t, runRelay(t, append(env, "RELAY_OUTBOX_NAME=second"), "parked", "list", "--json").wants(t, exitDone)); got.seqs() != "9 of 1" {
		t.Errorf("the second outbox: %s", got.seqs())
	}
}

func TestParkedList_JSONKeys(t *testing.T) {
	env, conn := database(t)
	park(t, conn, 3, "held", "payments", "null", "no_topic: a<b")
	execute(t, conn, `update outbox.parked set deliver_at = 'infinity', due_at = '-infinity', parked_at = '2026-01-02 03:04:05Z'`)
	out := runRelay(t, env, "parked", "list", "--json").wants(t, exitDone)
	want := `{"id":"` + parkedID(3) + `","seq":3,"state":"held","reason":"no_topic: a<b","topic":"payments","key":null,"type":"Placed",` +
		`"partition":null,"attempts":0,"due_at":"-infinity","parked_at":"2026-01-02T03:04:05Z","created_at":"2026-01-02T03:04:05Z","deliver_at":"infinity","lettered_at":null}`
	if !strings.Contains(out, want) {
		t.Errorf("%s\nwant\n%s", out, want)
	}
	if text := runRelay(t, env, "parked", "list").wants(t, exitDone); !strings.Contains(text, "-infinity") {
		t.Error(text)
	}
}

func TestParkedList_ForPeople(t *testing.T) {
	env, conn := database(t)
	if out := runRelay(t, env, "parked", "list").wants(t, exitDone); out != "nothing is parked in outbox main that matches\n" {
		t.Error(out)
	}
	parkSome(t, conn)
	execute(t, conn, `update outbox.parked set key = E'\x1b[2Jquite a long key, longer than a column' where seq = 3`)
	out := runRelay(t, env, "parked", "list", "--limit", "4").wants(t, exitDone)
	lines := strings.Split(out, "\n")
	if len(lines) != 8 || !strings.HasPrefix(lines[0], "state      due ") || lines[6] != "showing 4 of 5 events; --limit 0 shows all" {
		t.Errorf("%d lines:\n%s", len(lines), out)
	}
	if strings.HasSuffix(lines[1], " ") {
		t.Errorf("%q ends in spaces", lines[1])
	}
	if strings.Contains(out, "\x1b") || !strings.Contains(out, `\x1b[2Jquite a long key, longe…`) {
		t.Errorf("a key may steer the terminal, or is not clipped:\n%q", out)
	}
	if column := strings.Index(lines[0], " id "); column < 0 || !strings.HasPrefix(lines[1][column+1:], parkedID(5)) || !strings.HasPrefix(lines[4][column+1:], parkedID(2)) {
		t.Errorf("the columns do not stand under one another:\n%s", out)
	}
}

func TestTable_StreamsAfterTheSample(t *testing.T) {
	var out strings.Builder
	table := newTable(&out, func(_ int, cell string) string { return cell }, "a", "b")
	for i := range 3 * tableSample {
		if err := table.row(strings.Repeat("x", i/tableSample+1), "y"); err != nil {
			t.Fatal(err)
		}
		if i > tableSample && table.waiting != nil {
			t.Fatal("rows are held back after the sample")
		}
	}
	if err := table.end(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 3*tableSample+2 || lines[1] != "x  y" || lines[3*tableSample] != "xxx  y" {
		t.Errorf("%d lines, first %q, last %q", len(lines), lines[1], lines[3*tableSample])
	}
}

func TestParkedShow_Everything(t *testing.T) {
	env, conn := database(t)
	parkSome(t, conn)
	out := runRelay(t, env, "parked", "show", parkedID(1)).wants(t, exitDone)
	for _, want := range []string{"dead", "too_large: 2000000 bytes", "topic      orders\n", "key        42\n", "a=b c=d", "JSON, 8 B\n{\"n\": 1}\n", "0 attempts"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	got := decode[parkedList](t, runRelay(t, env, "parked", "show", parkedID(1), "--json").wants(t, exitDone))
	if e := got.Events[0]; got.seqs() != "1 of 1" || e.Payload == nil || *e.Payload != `{"n": 1}` || e.Kind != payloadJSON {
		t.Errorf("%+v", got)
	}
	for _, other := range []string{parkedID(9), parkedID(77)} { // another outbox's, nobody's
		if r := runRelay(t, env, "parked", "show", other); r.code != exitFailed || !strings.Contains(r.errors, `in outbox "main"`) {
			t.Errorf("%s: %+v", other, r)
		}
	}
	if r := runRelay(t, env, "parked", "show", "42"); r.code != exitUsage || !strings.Contains(r.errors, `"42" is no event id`) {
		t.Errorf("%+v", r)
	}
}

func TestParkedShow_PayloadsOfEveryKind(t *testing.T) {
	env, conn := database(t)
	park(t, conn, 1, "dead", "orders", "42", "")
	cases := []struct{ set, kind, text, json string }{
		{`payload = '{ "a":` + "\n" + `1}'`, payloadJSON, "{ \"a\":\n1}\n", `"payload": "{ \"a\":\n1}"`},
		{`payload = '"` + "\u009b" + `"'`, payloadJSON, `"\"\u009b\""` + "\n", `"payload_kind": "json"`},
		{`payload_bytes = '\x00ff'`, payloadBytes, "00000000  00 ff", `"payload_base64": "AP8="`},
		{`payload_bytes = 'text'`, payloadBytes, "4 B\ntext\n", `"payload": "text"`},
		{`payload_bytes = ''`, payloadBytes, "0 B\n", `"payload": ""`},
		{`payload = null`, payloadTombstone, "none, a tombstone", `"payload": null`},
		{`headers = null`, payloadTombstone, "headers    none", `"headers": null`},
		{`headers = '{"n": 1, "x": "y z"}'`, payloadTombstone, `headers    n=1 x="y z"`, `"n": 1`},
	}
	for _, c := range cases {
		execute(t, conn, `update outbox.parked set payload = null, payload_bytes = null`)
		execute(t, conn, `update outbox.parked set `+c.set)
		if out := runRelay(t, env, "parked", "show", parkedID(1)).wants(t, exitDone); !strings.Contains(out, c.text) {
			t.Errorf("%s: %q is missing in\n%s", c.set, c.text, out)
		}
		out := runRelay(t, env, "parked", "show", parkedID(1), "--json").wants(t, exitDone)
		if got := decode[parkedList](t, out); got.Events[0].Kind != c.kind || !strings.Contains(out, c.json) {
			t.Errorf("%s: %s is missing in\n%s", c.set, c.json, out)
		}
	}
}

// watermark notes the largest heap while a command writes, and how much it wrote.
type watermark struct{ written, heap, lines uint64 }

func (w *watermark) Write(p []byte) (int, error) {
	w.written += uint64(len(p))
	w.lines += uint64(strings.Count(string(p), "\n"))
	var stats runtime.MemStats
	if w.written/(1<<20) != (w.written-uint64(len(p)))/(1<<20) { // reading them stops the world
		runtime.ReadMemStats(&stats)
		w.heap = max(w.heap, stats.HeapAlloc)
	}
	return len(p), nil
}

func TestParked_AHundredThousandEvents(t *testing.T) {
	env, conn := database(t)
	execute(t, conn, `insert into outbox.parked (name, seq, state, reason, id, topic, key, payload, created_at)
		select 'main', n, 'dead', 'too_large: ' || repeat('x', 200), gen_random_uuid(), 'orders', (n % 100)::text, '{}', now()
		  from generate_series(1, 100000) n`)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, args := range [][]string{{"--json"}, nil} {
		var out watermark
		code := Main(t.Context(), append([]string{"parked", "list", "--limit", "0", "--reason", "too_large"}, args...), env,
			strings.NewReader(""), &out, &strings.Builder{})
		if grown := int64(out.heap) - int64(before.HeapAlloc); code != exitDone || out.lines < 100_000 || out.written < 25<<20 || grown > 16<<20 {
			t.Errorf("list %v: code %d, %d lines, %d bytes written, the heap grew by %d", args, code, out.lines, out.written, grown)
		}
	}
	result := decode[parkedResult](t, runRelay(t, env, "parked", "retry", "--state", "dead", "--yes", "--json").wants(t, exitDone))
	if result.Matched != 100_000 || result.Changed != 100_000 || len(result.By) != 1 {
		t.Errorf("%+v", result)
	}
	if got := query(t, conn, `select concat(count(*), ' ', min(reason)) from outbox.parked where state = 'held'`); got != "100000 retry: asked for by an operator" {
		t.Error(got)
	}
	got := query(t, conn, `select concat(count(*), ' ', sum(events), ' ', count(distinct detail->>'run'), ' ', max(jsonb_array_length(detail->'ids'))) from outbox.operations`)
	if got != "20 100000 1 100" {
		t.Errorf("operations, events, runs, most ids: %s", got)
	}
}

func TestParkedDocument_IsOneDocument(t *testing.T) {
	env, _ := database(t)
	out := runRelay(t, env, "parked", "list", "--json").wants(t, exitDone)
	if !json.Valid([]byte(out)) || !strings.Contains(out, `"events": []`) {
		t.Error(out)
	}
}
