package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/devenv/fake"
)

// daemon runs `relay run` in process until the test ends, or halt.
func startDaemon(t *testing.T, env []string) (halt func()) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan string, 1)
	go func() {
		var log journal // the Kafka client writes to it, too
		code := Main(ctx, []string{"run", "--log-level", "info"}, env, strings.NewReader(""), io.Discard, &log)
		if code != exitDone {
			ended <- fmt.Sprintf("relay run ended with %d: %s", code, log.String())
			return
		}
		ended <- ""
	}()
	halted := false
	halt = func() {
		stop()
		if !halted {
			halted = true
			if why := <-ended; why != "" {
				t.Error(why)
			}
		}
	}
	t.Cleanup(halt)
	return halt
}

func until(t *testing.T, what string, claim func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !claim(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// delivering is a relay at work on a database with n delivered events of topic orders.
func delivering(t *testing.T, n int, more ...string) (env []string, conn *pgx.Conn, b *fake.Broker, halt func()) {
	t.Helper()
	env, conn = database(t)
	kafka, b := broker(t, map[string]int32{"orders": 4, "again": 2})
	env = append(append(env, kafka...), "RELAY_OUTBOX_WAKE=poll", "RELAY_HTTP_LISTEN=")
	env = append(env, more...)
	execute(t, conn, fmt.Sprintf(`insert into outbox.events (topic, key, payload) select 'orders', n %% 7, to_json(n) from generate_series(1, %d) n`, n))
	halt = startDaemon(t, env)
	settledAll(t, conn)
	return env, conn, b, halt
}

func settledAll(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	until(t, "all is delivered", func() bool {
		return query(t, conn, `select concat((select count(*) from outbox.delivery where status = 'pending' or name is null), (select count(*) from outbox.parked))`) == "00"
	})
}

// valuesOf are the values of a topic's records so far.
func valuesOf(t *testing.T, b *fake.Broker, topic string, n int) []string {
	t.Helper()
	return valuesUntil(t, b, topic, func(values []string) bool { return len(values) >= n })
}

// valuesUntil reads a topic from its beginning until done says that it has enough, for 20 s at most.
func valuesUntil(t *testing.T, b *fake.Broker, topic string, done func(values []string) bool) (values []string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Brokers()...), kgo.ConsumeTopics(topic), kgo.DisableFetchSessions(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !done(values) && ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

func TestAudit_FindsAndRepairs(t *testing.T) {
	env, conn, b, _ := delivering(t, 30)
	if out := runRelay(t, env, "audit").wants(t, exitDone); !strings.Contains(out, "agree with the table") {
		t.Error(out)
	}
	execute(t, conn, `update outbox.events set payload = '"edited"' where seq = 9`)
	report := decode[auditReport](t, runRelay(t, env, "audit", "--json").wants(t, exitFound))
	if report.Balanced || len(report.Differences) != 1 || !slices.Equal(report.Differences[0].Exact, []int64{9}) {
		t.Errorf("%+v", report)
	}
	if out := runRelay(t, env, "status").wants(t, exitDone); !strings.Contains(out, "the books do not balance") || !strings.Contains(out, "seq 9: at least 1 row altered") {
		t.Error(out)
	}
	out := runRelay(t, env, "audit", "--repair").wants(t, exitDone)
	if !strings.Contains(out, "agree with the table again") {
		t.Error(out)
	}
	if got := valuesOf(t, b, "orders", 31); len(got) != 31 || !slices.Contains(got, `"edited"`) {
		t.Errorf("%d records: %v", len(got), got)
	}
	runRelay(t, env, "audit").wants(t, exitDone)
	execute(t, conn, `delete from outbox.events where seq = 9`)
	if out := runRelay(t, env, "audit", "--repair").wants(t, exitDone); !strings.Contains(out, "1 event cannot be published again") {
		t.Error(out)
	}
	runRelay(t, env, "audit").wants(t, exitDone)
	if r := runRelay(t, env, "audit", "--books-only"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
	if got := query(t, conn, `select string_agg(concat(verb, ' ', detail->>'via'), ', ') from outbox.operations`); got != "repair relay audit, repair relay audit" {
		t.Error(got)
	}
}

// The whole of it, under a role that has only what is granted: the ring is emptied, but never a slot whose books do not
// balance, and that is said wherever people look.
func TestJanitor_EmptiesAndStopsAtADifference(t *testing.T) {
	env, conn := database(t)
	newRoles(t, conn, "booksrelay")
	admin := env
	runRelay(t, admin, "migrate", "up", "--grant-relay", "booksrelay").wants(t, exitDone)
	kafka, _ := broker(t, map[string]int32{"orders": 4})
	url := strings.Replace(conn.Config().ConnString(), "postgres@", "booksrelay@", 1)
	env = append([]string{"RELAY_POSTGRES_URL=" + url, "RELAY_HTTP_LISTEN=127.0.0.1:0", "RELAY_RETENTION_KEEP=1h", "RELAY_OUTBOX_WAKE=poll",
		"RELAY_RETENTION_SCHEDULE=@every 1s", "RELAY_AUDIT_SCHEDULE=@every 1s"}, kafka...)
	address := listenable(t)
	env[1] = "RELAY_HTTP_LISTEN=" + address
	// Neither now nor next, neither in the ring as it is nor in that of a period of 12 minutes.
	slots := strings.Fields(query(t, conn, `select string_agg(s::text, ' ') from (select s from generate_series(0, 7) s
		where s not in (select (extract(epoch from now())::bigint / p + d) % 8 from unnest(array[14400, 720]) p, generate_series(0, 1) d) limit 2) free`))
	for _, slot := range slots {
		execute(t, conn, fmt.Sprintf(`insert into outbox.events (slot, topic, payload, created_at) select %s, 'orders', '1', now() - interval '2 hours' from generate_series(1, 20)`, slot))
	}
	// Settled, and one deleted, before the janitor can have emptied anything: a replay of nothing holds both slots.
	execute(t, conn, `insert into outbox.replays (name, window_from, cursor_seq, to_seq, events) values ('main', '3:3:', 0, 1000000, 0)`)
	startDaemon(t, env)
	settledAll(t, conn)
	execute(t, conn, `delete from outbox.events where seq = 25`)
	ready := func(want string) bool {
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return strings.Contains(string(body), want)
	}
	until(t, "readyz says it", func() bool { return ready(`"audit_difference"`) })
	execute(t, conn, `update outbox.replays set state = 'done'`)
	left := func() string {
		return query(t, conn, `select coalesce(string_agg(concat(slot, ':', n), ' ' order by slot), '') from (select slot, count(*) n from outbox.events group by slot) e`)
	}
	until(t, "the sound slot is emptied", func() bool { return left() == slots[1]+":19" })
	runRelay(t, env, "audit", "--repair").wants(t, exitDone)
	until(t, "the repaired slot is emptied", func() bool { return left() == "" })
	until(t, "readyz is content", func() bool { return ready(`"ready":true`) })
	if got := query(t, conn, `select period_seconds::text from outbox.ring`); got != "720" {
		t.Errorf("period %s", got)
	}
	if got := query(t, conn, `select sum(n_tup_upd)::text from pg_stat_user_tables where relname like 'events_%'`); got != "0" {
		t.Errorf("%s events were updated, each a dead row", got)
	}
}

// listenable is an address that was free a moment ago.
func listenable(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
