package main

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// inserted is a row of events as text.
type inserted struct {
	ID, Topic, Key, Kind, Payload, Binary, Headers, Partition string
}

func eventsIn(t *testing.T, conn *pgx.Conn) []inserted {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
select id::text, topic, coalesce(key, 'null'), coalesce(type, 'null'), coalesce(payload::text, 'null'),
       coalesce(encode(payload_bytes, 'hex'), 'null'), coalesce(headers::text, 'null'), coalesce(partition::text, 'null')
  from outbox.events order by seq`)
	if err != nil {
		t.Fatal(err)
	}
	events, err := pgx.CollectRows(rows, pgx.RowToStructByPos[inserted])
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestInsert_WritesWhatTheFlagsSay(t *testing.T) {
	for _, test := range []struct {
		name  string
		stdin string
		args  []string
		want  inserted
	}{
		{
			name: "everything", args: []string{"--key", "42", "--type", "Placed", "--header", "a=b=c", "--header", "d=", "--partition", "3", `{"n" : 1}`},
			want: inserted{Key: "42", Kind: "Placed", Payload: `{"n" : 1}`, Binary: "null", Headers: `{"a":"b=c","d":""}`, Partition: "3"},
		},
		{
			name: "as little as possible",
			want: inserted{Key: "null", Kind: "null", Payload: `{"number":1}`, Binary: "null", Headers: "null", Partition: "null"},
		},
		{
			name: "an empty key and standard input", stdin: "[1,\n2]\n", args: []string{"--key", "", "-"},
			want: inserted{Key: "", Kind: "null", Payload: "[1,\n2]", Binary: "null", Headers: "null", Partition: "null"},
		},
		{
			name: "bytes", stdin: "\x00\xff\n", args: []string{"--binary", "-"},
			want: inserted{Key: "null", Kind: "null", Payload: "null", Binary: "00ff0a", Headers: "null", Partition: "null"},
		},
		{
			name: "a tombstone", args: []string{"--tombstone", "--key", "1"},
			want: inserted{Key: "1", Kind: "null", Payload: "null", Binary: "null", Headers: "null", Partition: "null"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			env, conn := database(t)
			r := runWith(t, env, test.stdin, append([]string{"insert", "--topic", "orders"}, test.args...)...)
			test.want.ID, test.want.Topic = strings.TrimSpace(r.wants(t, exitDone)), "orders"
			if events := eventsIn(t, conn); len(events) != 1 || events[0] != test.want {
				t.Errorf("inserted %+v, wanted %+v", events, test.want)
			}
		})
	}
}

func TestInsert_ManyInOneTransaction(t *testing.T) {
	env, conn := database(t)
	out := runRelay(t, env, "insert", "--topic", "orders", "--count", "2500", "--deliver-at", "1h").wants(t, exitDone)
	ids := strings.Fields(out)
	var rows, transactions int
	var scheduled bool
	err := conn.QueryRow(t.Context(), `select count(*), count(distinct xid::text), bool_and(deliver_at between now() + interval '50 min' and now() + interval '1 h')
		from outbox.events where id = any($1)`, ids).Scan(&rows, &transactions, &scheduled)
	if err != nil || len(ids) != 2500 || rows != 2500 || transactions != 1 || !scheduled {
		t.Errorf("%d ids, %d rows of them in %d transactions, scheduled %t: %v", len(ids), rows, transactions, scheduled, err)
	}
}

func TestInsert_RefusesInTheWordsOfTheFlags(t *testing.T) {
	env, conn := database(t)
	r := runRelay(t, env, "insert", "--topic", "a b", "--header", "id=1", "--partition", "-1", "{}")
	r.wants(t, exitUsage)
	for _, want := range []string{"--topic", "--header \"id\"", "--partition"} {
		if !strings.Contains(r.errors, want) {
			t.Errorf("%q is missing in %q", want, r.errors)
		}
	}
	if events := eventsIn(t, conn); len(events) != 0 || r.out != "" {
		t.Errorf("inserted %v, printed %q", events, r.out)
	}
}

func TestInsert_LeavesTheNamesOfHeadersToTheConfiguration(t *testing.T) {
	env, conn := database(t)
	env = append(env, "RELAY_HEADERS_ID=event-id", "RELAY_HEADERS_TYPE=")
	r := runRelay(t, env, "insert", "--topic", "orders", "--header", "event-id=1")
	if r.wants(t, exitUsage); !strings.Contains(r.errors, `--header "event-id"`) {
		t.Errorf("a second header event-id: %q", r.errors)
	}
	runRelay(t, env, "insert", "--topic", "orders", "--header", "id=1", "--header", "type=2").wants(t, exitDone)
	if events := eventsIn(t, conn); len(events) != 1 || events[0].Headers != `{"id":"1","type":"2"}` {
		t.Errorf("inserted %+v", events)
	}
}

func TestInsert_WithoutTheOutboxNamesTheCure(t *testing.T) {
	env, _ := emptyDatabase(t)
	r := runRelay(t, env, "insert", "--topic", "a")
	r.wants(t, exitFailed)
	if !strings.Contains(r.errors, "relay migrate up") {
		t.Error(r.errors)
	}
}
