package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/fake"
	"github.com/outboxrelay/relay/internal/store"
)

// delivered is what a test needs to look behind a daemon.
type delivered struct {
	env    []string
	conn   *pgx.Conn
	broker *fake.Broker
}

// replayList is the document of relay replay list.
type replayList struct {
	Replays []store.Replay `json:"replays"`
}

func (l replayList) text() string {
	var b strings.Builder
	for _, p := range l.Replays {
		fmt.Fprintf(&b, "%d %s %s %d %d %d %s, ", p.No, p.State, *p.Topic, p.Events, p.Queued, p.Waiting, p.At)
	}
	return b.String()
}

// replayingDaemon has delivered n events of topic orders, and serves HTTP.
func replayingDaemon(t *testing.T, n int) (address string, d *delivered) {
	t.Helper()
	d = &delivered{}
	d.env, d.conn = database(t)
	kafka, b := broker(t, map[string]int32{"orders": 4, "again": 2})
	d.broker = b
	d.env = append(append(d.env, kafka...), "RELAY_OUTBOX_WAKE=poll", "RELAY_CONSOLE_TOKEN="+consoleToken)
	execute(t, d.conn, fmt.Sprintf(`insert into outbox.events (topic, key, payload) select 'orders', n %% 7, to_json(n) from generate_series(1, %d) n`, n))
	address = runDaemon(t, d.env)
	settledAll(t, d.conn)
	return address, d
}

func TestAPI_ReplaysAsTheCommandDoes(t *testing.T) {
	address, d := replayingDaemon(t, 300)
	status, counted := post(t, address, "replays", consoleToken, `{"topic": "orders", "since": "1h", "dry_run": true}`)
	if status != 200 || counted["events"] != 300.0 || counted["replay"] != nil || counted["dry_run"] != true {
		t.Errorf("%d %v", status, counted)
	}
	for _, c := range []struct {
		path, token, body, says string
		status                  int
	}{
		{"replays", "", `{"topic": "orders", "since": "1h"}`, "needs the token", 401},
		{"replays", consoleToken, `{"since": "1h"}`, "say which topic", 400},
		{"replays", consoleToken, `{"topic": "orders"}`, "since", 400},
		{"replays", consoleToken, `{"topic": "orders", "since": "yesterday"}`, "neither a time", 400},
		{"replays", consoleToken, `{"topic": "orders", "since": "1h", "until": "2h"}`, "is not before", 400},
		{"replays", consoleToken, `{"topic": "orders", "since": "1h", "rate": -1}`, "negative", 400},
		{"replays", consoleToken, `{"topic": "orders", "since": "1h", "to": "__x"}`, "topics.allow", 400},
		{"replays", consoleToken, `{"topic": "orders", "sinc": "1h"}`, "unknown field", 400},
		{"replays/1/stop", "", `{}`, "needs the token", 401},
		{"replays/1/stop", consoleToken, `{}`, "there is no replay 1", 404},
		{"replays/1/resume", consoleToken, `{}`, "there is no replay 1", 404},
		{"replays/x/stop", consoleToken, `{}`, "by its number", 400},
	} {
		if status, document := post(t, address, c.path, c.token, c.body); status != c.status || !strings.Contains(fmt.Sprint(document["error"]), c.says) {
			t.Errorf("%s %s: %d %v", c.path, c.body, status, document)
		}
	}
	if got := query(t, d.conn, `select concat((select count(*) from outbox.replays), ' ', (select count(*) from outbox.operations))`); got != "0 0" {
		t.Fatalf("a count or a wrong request left something: %s", got)
	}

	status, begun := post(t, address, "replays", consoleToken, `{"topic": "orders", "since": "1h", "key": "3", "to": "again"}`)
	want := query(t, d.conn, `select string_agg(payload::text, ' ' order by seq) from outbox.events where key = '3'`)
	if status != 200 || begun["events"] != float64(len(strings.Fields(want))) {
		t.Errorf("%d %v", status, begun)
	}
	settledAll(t, d.conn)
	if got := strings.Join(valuesOf(t, d.broker, "again", len(strings.Fields(want))), " "); got != want {
		t.Errorf("replayed %s\nwant %s", got, want)
	}
	_, list := get(t, address, "/api/v1/replays")
	if cli := runRelay(t, d.env, "replay", "list", "--json").wants(t, exitDone); decode[replayList](t, list).text() != decode[replayList](t, cli).text() {
		t.Errorf("%s\n%s", list, cli)
	}
	if status, document := post(t, address, "replays/1/resume", consoleToken, `{}`); status != 400 || !strings.Contains(fmt.Sprint(document), "is done") {
		t.Errorf("%d %v", status, document)
	}
	if got := query(t, d.conn, `select concat(verb, ' ', detail->>'via') from outbox.operations`); got != "replay http /api/v1/replays" {
		t.Errorf("the record says %s", got)
	}
}

// Stopped and resumed again and again, by HTTP, each event is handed over once.
func TestAPI_StopsAndResumesReplays(t *testing.T) {
	address, d := replayingDaemon(t, 400)
	ask := func(path, body string) {
		t.Helper()
		if status, document := post(t, address, path, consoleToken, body); status != 200 {
			t.Fatalf("%s: %d %v", path, status, document)
		}
	}
	ask("replays", `{"topic": "orders", "since": "1h", "to": "again", "rate": 200}`)
	for n := range 10 {
		ask("replays/1/stop", `{}`)
		if got := query(t, d.conn, `select state from outbox.replays`); got != "stopped" {
			t.Errorf("stopped, it is %s", got)
		}
		ask("replays/1/resume", `{}`)
		until(t, "it goes on", func() bool {
			return query(t, d.conn, fmt.Sprintf(`select (queued > %d)::text from outbox.replays`, n*10)) == "true"
		})
	}
	execute(t, d.conn, `update outbox.replays set rate = 0`)
	ask("replays/1/stop", `{}`)
	ask("replays/1/resume", `{}`)
	until(t, "it is done", func() bool { return query(t, d.conn, `select state from outbox.replays`) == "done" })
	settledAll(t, d.conn)
	got := valuesOf(t, d.broker, "again", 400)
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); n != 400 || len(got) != 400 {
		t.Errorf("%d records, %d different ones", len(got), n)
	}
}

// Stopped and resumed at once: the one that carries on may have seen the stop and not yet the resume.
func TestReplayKeeper_GoesOnWithOneThatWasResumedAsItEnded(t *testing.T) {
	k := newReplayKeeper(nil, nil)
	for range 2 {
		if err := k.reserve(); err != nil {
			t.Fatal(err)
		}
		k.begin(7)
	}
	if no := <-k.asked; no != 7 || len(k.asked) > 0 {
		t.Errorf("asked for %d, and %d more", no, len(k.asked))
	}
	if !k.again(t.Context(), 7) {
		t.Error("the resume is lost")
	}
	if k.again(t.Context(), 7) || len(k.going) > 0 || k.places != 0 {
		t.Errorf("it goes on without end: %v, %d places", k.going, k.places)
	}
}

func TestReplayKeeper_CarriesOnWithSoMany(t *testing.T) {
	k := newReplayKeeper(nil, nil)
	for range replaysAtOnce {
		if err := k.reserve(); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.reserve(); err == nil || !strings.Contains(err.Error(), "wait for one") {
		t.Errorf("one too many: %v", err)
	}
	k.release()
	if err := k.reserve(); err != nil {
		t.Error(err)
	}
}
