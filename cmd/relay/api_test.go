package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/migrate"
	"github.com/outboxrelay/relay/internal/relay"
)

const consoleToken = "a-token-for-the-tests-0123"

// consoleDaemon follows, because nothing is to be delivered while a test looks: another holds the lease.
func consoleDaemon(t *testing.T, more ...string) (address string, conn *pgx.Conn) {
	t.Helper()
	env, conn := database(t)
	kafkaEnv, _ := broker(t, map[string]int32{"orders": 1})
	execute(t, conn, `insert into outbox.relays (name, epoch, holder, expires_at) values ('main', 7, 'pod-1', now() + interval '1 hour')`)
	parkSome(t, conn)
	address = runDaemon(t, append(append(env, kafkaEnv...), append(more, "RELAY_CONSOLE_TOKEN="+consoleToken)...))
	within(t, "the server answers", func() bool { status, _ := get(t, address, "/livez"); return status == 200 })
	return address, conn
}

func post(t *testing.T, address, path, token, body string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := webClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatalf("%s: %v in %s", path, err, text)
	}
	return answer.StatusCode, document
}

func TestAPI_ReadsWhatTheCommandsRead(t *testing.T) {
	address, conn := consoleDaemon(t)
	within(t, "it follows", func() bool { status, _ := get(t, address, "/readyz"); return status == 200 })
	env := []string{"RELAY_POSTGRES_URL=" + conn.Config().ConnString()}
	_, list := get(t, address, "/api/v1/parked?topic=orders&limit=2")
	cli := runRelay(t, env, "parked", "list", "--json", "--topic", "orders", "--limit", "2").wants(t, exitDone)
	if a, b := decode[parkedList](t, list), decode[parkedList](t, cli); a.seqs() != b.seqs() || a.seqs() != "5 4 of 4" {
		t.Errorf("%s and %s", a.seqs(), b.seqs())
	}
	status, event := get(t, address, "/api/v1/parked/"+parkedID(1))
	if status != 200 || strings.Contains(event, `"n": 1`) || strings.Contains(event, `\"n\"`) || !strings.Contains(event, `"payloads_hidden":true`) || !strings.Contains(event, `"headers":{"a":"b"`) {
		t.Errorf("%d %s", status, event)
	}
	_, topics := get(t, address, "/api/v1/topics")
	if want := `[{"topic":"orders","parked":{"behind":1,"dead":1,"replay":1,"scheduled":1}},{"topic":"payments","parked":{"held":1}}]`; strings.TrimSpace(topics) != want {
		t.Errorf("%s\nwant %s", topics, want)
	}
	for path, want := range map[string]int{"parked/" + parkedID(77): 404, "parked/x": 400, "parked?state=odd": 400, "parked?limit=0": 400, "nothing": 404, "status": 200, "replica": 200} {
		if status, body := get(t, address, "/api/v1/"+path); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func TestAPI_ChangesWithTheTokenOnly(t *testing.T) {
	address, conn := consoleDaemon(t)
	states := func() string { return query(t, conn, parkedStatesSQL) }
	before := states()
	all := `{"all": true}`
	for _, c := range []struct {
		path, token, body string
		status            int
	}{
		{"parked/drop", "", all, 401},
		{"parked/drop", "another-token-0123456789", all, 401},
		{"parked/" + parkedID(1) + "/edit", "", `{"topic": "x"}`, 401},
		{"parked/drop", consoleToken, `{}`, 400},
		{"parked/drop", consoleToken, `{"all": true, "topic": "orders"}`, 400},
		{"parked/drop", consoleToken, `{"al": true, "topic": "orders"}`, 400},
		{"parked/drop", consoleToken, `{"state": "odd"}`, 400},
		{"parked/drop", consoleToken, `{"ids": ["x"]}`, 400},
		{"parked/drop", consoleToken, all + all, 400},
		{"parked/drop", consoleToken, `{"topic": "orders", "dry_run": true}`, 200},
		{"parked/" + parkedID(77) + "/edit", consoleToken, `{"topic": "x"}`, 404},
		{"parked/" + parkedID(1) + "/edit", consoleToken, `{"topic": "no spaces"}`, 400},
		{"parked/" + parkedID(1) + "/edit", consoleToken, `{"payload": "{"}`, 400},
		{"parked/" + parkedID(1) + "/edit", consoleToken, `{"headers": ["x"]}`, 400},
		{"parked/" + parkedID(1) + "/edit", consoleToken, `{"headers": {"": "x"}}`, 400},
		{"parked/" + parkedID(1) + "/edit", consoleToken, `{"headers": {"x": null}}`, 400},
		{"parked/" + parkedID(1) + "/edit", consoleToken, `{"topic": "x", "dry_run": true}`, 200},
	} {
		if status, document := post(t, address, c.path, c.token, c.body); status != c.status {
			t.Errorf("%s %s: %d %v", c.path, c.body, status, document)
		}
		if after := states(); after != before {
			t.Fatalf("%s %s changed %s to %s", c.path, c.body, before, after)
		}
	}
	if status, body := get(t, address, "/api/v1/parked/drop?all=true"); status != 400 || states() != before {
		t.Errorf("a GET: %d %s", status, body)
	}

	if status, document := post(t, address, "parked/retry", consoleToken, `{"ids": ["`+parkedID(1)+`"]}`); status != 200 || document["changed"] != 1.0 {
		t.Errorf("retry: %d %v", status, document)
	}
	edit := `{"topic": "payments", "headers": {"x": "y"}, "payload": "{\"n\": 2}"}`
	if status, document := post(t, address, "parked/"+parkedID(3)+"/edit", consoleToken, edit); status != 200 || document["after"].(map[string]any)["payload"] != nil {
		t.Errorf("edit: %d %v", status, document)
	}
	if got := query(t, conn, `select concat(headers, ' ', payload) from outbox.parked where seq = 3`); got != `{"x": "y"} {"n": 2}` {
		t.Errorf("edited to %s", got)
	}
	odd := `{"headers": {"a=b": "c", "a": "=", "x": "1", "x": "2"}}`
	if status, document := post(t, address, "parked/"+parkedID(3)+"/edit", consoleToken, odd); status != 200 {
		t.Errorf("edit: %d %v", status, document)
	}
	if got := query(t, conn, `select headers::text from outbox.parked where seq = 3`); got != `{"a=b": "c", "a": "=", "x": "1", "x": "2"}` {
		t.Errorf("headers became %s", got)
	}
	if status, document := post(t, address, "parked/"+parkedID(3)+"/edit", consoleToken, `{"headers": {}}`); status != 200 {
		t.Errorf("edit: %d %v", status, document)
	}
	if got := query(t, conn, `select (headers is null)::text from outbox.parked where seq = 3`); got != "true" {
		t.Error("the headers were not taken away")
	}
	if status, document := post(t, address, "parked/drop", consoleToken, `{"topic": "orders", "key": "42"}`); status != 200 || document["changed"] != 2.0 {
		t.Errorf("drop: %d %v", status, document)
	}
	if got := query(t, conn, `select string_agg(concat(verb, ' ', events, ' ', detail->>'via'), ', ' order by op_no) from outbox.operations`); got != "retry 1 http /api/v1/parked/retry, "+strings.Repeat("edit 1 http /api/v1/parked/"+parkedID(3)+"/edit, ", 3)+"drop 2 http /api/v1/parked/drop" {
		t.Errorf("the record says %s", got)
	}
}

// The event that was too large for Kafka is the one that people look at.
func TestAPI_HiddenPayloadsAreNotRead(t *testing.T) {
	address, conn := consoleDaemon(t)
	execute(t, conn, `update outbox.parked set payload = to_json(repeat('x', 50000000)) where seq = 1`)
	execute(t, conn, `update outbox.parked set payload = null, payload_bytes = '\x00' where seq = 3`)
	execute(t, conn, `update outbox.parked set payload = null where seq = 4`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	status, event := get(t, address, "/api/v1/parked/"+parkedID(1))
	edited, document := post(t, address, "parked/"+parkedID(1)+"/edit", consoleToken, `{"key": "43"}`)
	runtime.ReadMemStats(&after)
	if status != 200 || edited != 200 || !strings.Contains(event, `"payload_kind":"json","payload":null`) {
		t.Errorf("%d %.500s, %d %.500v", status, event, edited, document)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 40_000_000 {
		t.Errorf("%d bytes were allocated for what nobody sees", took)
	}
	for seq, kind := range map[int]string{3: "bytes", 4: "tombstone"} {
		if _, event := get(t, address, "/api/v1/parked/"+parkedID(seq)); !strings.Contains(event, `"payload_kind":"`+kind+`","payload":null`) {
			t.Errorf("%d: %s", seq, event)
		}
	}
}

// A payload of 50 MB took 600 MB of the process that delivers events, for one look and one edit.
func TestAPI_LargePayloadsStayWhereTheyAre(t *testing.T) {
	address, conn := consoleDaemon(t, "RELAY_CONSOLE_SHOW_PAYLOADS=true")
	large := func(seq int) {
		execute(t, conn, `update outbox.parked set payload = to_json(repeat('x', 50000000)) where seq = $1`, seq)
	}
	large(1)
	execute(t, conn, `update outbox.parked set payload = null, payload_bytes = convert_to(repeat('x', 1048577), 'UTF8') where seq = 3`)
	execute(t, conn, `update outbox.parked set payload = to_json(repeat('ä', 524287)) where seq = 4`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	status, event := get(t, address, "/api/v1/parked/"+parkedID(1))
	edited, document := post(t, address, "parked/"+parkedID(1)+"/edit", consoleToken, `{"key": "43"}`)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 40_000_000 {
		t.Errorf("%d bytes were allocated for what is too large to show", took)
	}
	const left = `"payload_kind":"json","payload":null,"payload_omitted":true,"payload_length":50000002`
	if status != 200 || !strings.Contains(event, left) {
		t.Errorf("%d %.1000s", status, event)
	}
	for _, which := range []string{"before", "after"} {
		if e, _ := document[which].(map[string]any); edited != 200 || e["payload"] != nil || e["payload_omitted"] != true || e["payload_length"] != 50000002.0 {
			t.Errorf("%d %.1000v", edited, document)
		}
	}
	if _, event := get(t, address, "/api/v1/parked/"+parkedID(3)); !strings.Contains(event, `"payload_kind":"bytes","payload":null,"payload_omitted":true,"payload_length":1048577`) {
		t.Errorf("%.1000s", event)
	}
	if _, event := get(t, address, "/api/v1/parked/"+parkedID(4)); strings.Contains(event, "payload_omitted") || strings.Count(event, "ä") != 524287 {
		t.Errorf("1 MiB is too large: %.1000s", event)
	}
	env := []string{"RELAY_POSTGRES_URL=" + conn.Config().ConnString()}
	if out := runRelay(t, env, "parked", "show", parkedID(1), "--json").wants(t, exitDone); len(out) < 50_000_000 || strings.Contains(out, "payload_omitted") {
		t.Errorf("the command shows %d bytes", len(out))
	}

	// Two events have this id. What both have together counts.
	execute(t, conn, `update outbox.parked set payload = to_json(repeat('x', 600000)), id = $1 where seq in (4, 5)`, parkedID(4))
	if _, event := get(t, address, "/api/v1/parked/"+parkedID(4)); strings.Count(event, "payload_omitted") != 1 || !strings.Contains(event, `"payload_length":600002`) {
		t.Errorf("%d bytes for two events", len(event))
	}
}

// Whoever reaches the port may ask as often as he likes, and applications need connections too. This role may have
// eight, and 24 requests have to wait for tables that somebody has locked.
func TestAPI_TakesFewConnectionsHoweverManyAsk(t *testing.T) {
	env, conn := database(t)
	role := "api_" + strings.ToLower(rand.Text())
	execute(t, conn, "create role "+role+" login connection limit 8")
	t.Cleanup(func() {
		_, err := conn.Exec(context.Background(), "drop owned by "+role+"; drop role "+role)
		if err != nil {
			t.Error(err)
		}
	})
	if err := migrate.GrantRelay(t.Context(), conn.Config().ConnString(), "outbox", role); err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(conn.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	address.User = url.User(role)
	cfg, err := config.Load("", append(env, "RELAY_POSTGRES_URL="+address.String()))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	server := httptest.NewServer(newAPI(cfg, &board{cfg: cfg}, func() relay.Report { return relay.Report{} }, newReplayKeeper(cfg, log), log))
	defer server.Close()

	locker, err := pgx.Connect(t.Context(), conn.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer locker.Close(context.Background())
	execute(t, locker, `begin; lock table outbox.parked, outbox.replays in access exclusive mode`)
	var asked sync.WaitGroup
	for i := range 24 {
		path := []string{"topics", "parked", "replays"}[i%3]
		asked.Go(func() {
			if status, body := get(t, server.Listener.Addr().String(), "/api/v1/"+path); status != 200 {
				t.Errorf("%s: %d %s", path, status, body)
			}
		})
	}
	const waiting = `select count(*)::text from pg_stat_activity where usename = $1 and wait_event_type = 'Lock'`
	within(t, "as many as may wait for the tables", func() bool { return query(t, conn, waiting, role) >= strconv.Itoa(apiAtOnce) })
	execute(t, locker, `rollback`)
	asked.Wait()
}

func TestConsole_CanBeTurnedOff(t *testing.T) {
	env, _ := database(t)
	kafkaEnv, _ := broker(t, nil)
	address := runDaemon(t, append(append(env, kafkaEnv...), "RELAY_CONSOLE_ENABLED=false"))
	within(t, "the server answers", func() bool { status, _ := get(t, address, "/livez"); return status == 200 })
	if status, _ := get(t, address, "/api/v1/status"); status != 404 {
		t.Errorf("%d", status)
	}
	if status, _ := get(t, address, "/"); status != 404 {
		t.Errorf("%d", status)
	}
}
