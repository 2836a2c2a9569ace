package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/config"
)

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// runDaemon runs the daemon until the test ends, and gives its address.
func runDaemon(t *testing.T, env []string) string {
	t.Helper()
	address := freeAddress(t)
	cfg, err := config.Load("", append(env, "RELAY_HTTP_LISTEN="+address))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	stop, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, stop, cfg, env, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Errorf("the daemon ended: %v", err)
		}
		cancel()
	})
	return address
}

// webClient leaves no connection behind.
var webClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}

func get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	answer, err := webClient.Get("http://" + address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func within(t *testing.T, what string, claim func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !claim(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 30 s: " + what)
		}
	}
}

// Everybody who tells of the outbox tells the same.
func TestStatus_IsOneAndTheSameWhereverItIsRead(t *testing.T) {
	env, conn := database(t)
	kafkaEnv, b := broker(t, map[string]int32{"orders": 2})
	env = append(env, kafkaEnv...)
	execute(t, conn, `insert into outbox.events (topic, key, payload) select 'orders', n, '{}' from generate_series(1, 40) n`)
	execute(t, conn, `insert into outbox.events (topic, payload) select 'missing', '{}' from generate_series(1, 3) n`)
	execute(t, conn, `insert into outbox.events (topic, payload, deliver_at, created_at) values ('orders', '{}', now() + interval '1 day', now() - interval '2 hours')`)
	address := runDaemon(t, env)
	within(t, "all is delivered or parked", func() bool {
		return query(t, conn, `select count(*)::text from outbox.delivery where status = 'pending' or name is null`) == "0"
	})
	b.Stop() // what comes now stays pending
	execute(t, conn, `insert into outbox.events (topic, payload, created_at) select 'orders', '{}', now() - interval '10 min' from generate_series(1, 7) n`)

	_, page := get(t, address, "/status")
	_, metrics := get(t, address, "/metrics")
	cli := decode[statusReport](t, runRelay(t, env, "status", "--json").wants(t, exitDone))
	var served statusReport
	if err := json.Unmarshal([]byte(page), &served); err != nil {
		t.Fatalf("%v in %s", err, page)
	}
	inSQL := viewsOf(t, conn)
	for where, got := range map[string]string{
		"/status": figures(served.Pending, served.Parked, served.Lag), "relay status --json": figures(cli.Pending, cli.Parked, cli.Lag),
		"/metrics": figures(int64(metric(t, metrics, "relay_events_pending")), map[string]int64{
			"held": int64(metric(t, metrics, `relay_parked_events{state="held"}`)), "scheduled": int64(metric(t, metrics, `relay_parked_events{state="scheduled"}`)),
			"dead": int64(metric(t, metrics, `relay_parked_events{state="dead"}`))}, metric(t, metrics, "relay_lag_seconds")),
	} {
		if got != inSQL || got != "7 pending for 600 s, 3 held, 1 scheduled, 0 dead" {
			t.Errorf("%s: %s; psql: %s", where, got, inSQL)
		}
	}
	if cli.Delivered != 40 || served.Delivered != 40 || metric(t, metrics, `relay_events_delivered_total{topic="orders"}`) != 40 ||
		metric(t, metrics, "relay_delivery_seconds_count") != 40 {
		t.Errorf("delivered: %d, %d\n%s", cli.Delivered, served.Delivered, metrics)
	}
	if oldest := metric(t, metrics, "relay_ring_oldest_seconds"); oldest < 0 || oldest > 60 || cli.RingOldest < oldest {
		t.Errorf("the first event is %f s old, %f by the command", oldest, cli.RingOldest)
	}
	if metric(t, metrics, "relay_leader") != 1 || metric(t, metrics, "relay_postgres_up") != 1 || metric(t, metrics, "relay_epoch") != float64(cli.Epoch) {
		t.Errorf("leader and epoch:\n%s", metrics)
	}
}

// figures are rounded: the readings are not of one moment.
func figures(pending int64, parked map[string]int64, lag float64) string {
	return fmt.Sprintf("%d pending for %.0f s, %d held, %d scheduled, %d dead", pending, lag-float64(int(lag)%60), parked["held"], parked["scheduled"], parked["dead"])
}

func viewsOf(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return query(t, conn, `
select concat(l.pending, ' pending for ', (l.lag_seconds::int / 60) * 60, ' s, ', count(*) filter (where d.status = 'held'), ' held, ',
              count(*) filter (where d.status = 'scheduled'), ' scheduled, ', count(*) filter (where d.status = 'dead'), ' dead')
  from outbox.lag l, outbox.delivery d group by l.pending, l.lag_seconds`)
}

func metric(t *testing.T, page, name string) float64 {
	t.Helper()
	line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(page)
	if line == nil {
		t.Errorf("no metric %s", name)
		return -1
	}
	var value float64
	if _, err := fmt.Sscan(line[1], &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestReadLag_GuessesWhatItDoesNotCount(t *testing.T) {
	_, conn := database(t)
	execute(t, conn, `insert into outbox.events (topic, created_at) select 'orders', now() - interval '5 min' from generate_series(1, $1::int) n`, countMost+1000)
	r, err := readStatus(t.Context(), conn, "outbox", "main", 0)
	if err != nil || r.Pending != countMost+1000 || !r.PendingAbout || r.Lag < 300 || r.Lag > 400 {
		t.Errorf("%d pending, about %v, for %f s: %v", r.Pending, r.PendingAbout, r.Lag, err)
	}
}
