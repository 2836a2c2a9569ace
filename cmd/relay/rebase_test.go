package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/store"
)

// A dump of a database at work is restored into another cluster, whose transaction ids are lower. What was pending then
// and what was written there since is delivered, what was delivered is not, and the books balance.
func TestRebase_AfterDumpAndRestore(t *testing.T) {
	spendIDs(t)
	_, conn, _, halt := delivering(t, 50)
	halt()
	execute(t, conn, `insert into outbox.events (topic, key, payload) select 'orders', 'k', to_json(n) from generate_series(51, 60) n`)
	there, other := restoredElsewhere(t, conn)
	execute(t, other, `begin; insert into outbox.events (topic, key, payload) values ('orders', 'k', '61'); savepoint s;
		insert into outbox.events (topic, key, payload) values ('orders', 'k', '62'); release s; commit`)
	kafka, b := broker(t, map[string]int32{"orders": 4})
	env := append([]string{"RELAY_POSTGRES_URL=" + there, "RELAY_OUTBOX_WAKE=poll", "RELAY_HTTP_LISTEN="}, kafka...)
	startDaemon(t, env)
	if r := runRelay(t, env, "rebase"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
	done := decode[store.Rebased](t, runRelay(t, env, "rebase", "--yes", "--json").wants(t, exitDone))
	if !done.Needed || done.Pending != 12 || !slices.Equal(done.Names, []string{"main"}) {
		t.Errorf("%+v", done)
	}
	execute(t, other, `insert into outbox.events (topic, key, payload) values ('orders', 'k', '63')`)
	settledAll(t, other)
	if got := strings.Join(valuesOf(t, b, "orders", 13), " "); got != "51 52 53 54 55 56 57 58 59 60 61 62 63" {
		t.Errorf("delivered %s", got)
	}
	runRelay(t, env, "audit").wants(t, exitDone)
	if out := runRelay(t, env, "rebase", "--yes").wants(t, exitDone); !strings.Contains(out, "nothing to do") {
		t.Error(out)
	}
}

// pg_upgrade gives the cluster another identifier, and nothing else that a cursor knows: what was delivered is not
// delivered again, and what was pending is.
func TestRebase_AfterUpgradeNothingComesTwice(t *testing.T) {
	server, err := postgres.Start(t.Context(), postgres.Options{Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	kafka, b := broker(t, map[string]int32{"orders": 4})
	env := append([]string{"RELAY_POSTGRES_URL=" + server.URL("postgres"), "RELAY_OUTBOX_WAKE=poll", "RELAY_HTTP_LISTEN="}, kafka...)
	runRelay(t, env, "migrate", "up").wants(t, exitDone)
	write := func(from, to int) { // each in a transaction of its own, but one
		conn := connected(t, server.URL("postgres"))
		defer closePostgres(conn)
		for n := from; n < to; n++ {
			execute(t, conn, fmt.Sprintf(`insert into outbox.events (topic, key, payload) values ('orders', 'k', '%d')`, n))
		}
		execute(t, conn, fmt.Sprintf(`begin; savepoint s; insert into outbox.events (topic, key, payload) values ('orders', 'k', '%d'); commit`, to))
	}
	write(1, 20)
	halt := startDaemon(t, env)
	settledAll(t, connected(t, server.URL("postgres")))
	halt()
	write(21, 30)
	if err := server.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(31, 40)
	startDaemon(t, env)
	done := decode[store.Rebased](t, runRelay(t, env, "rebase", "--yes", "--json").wants(t, exitDone))
	if !done.Needed || !done.Upgraded || done.Pending != 0 || !slices.Equal(done.Names, []string{"main"}) {
		t.Errorf("%+v", done)
	}
	conn := connected(t, server.URL("postgres"))
	settledAll(t, conn)
	execute(t, conn, `insert into outbox.events (topic, key, payload) values ('orders', 'k', '41')`)
	want := make([]string, 41)
	for i := range want {
		want[i] = strconv.Itoa(i + 1)
	}
	if got := valuesOf(t, b, "orders", 41); !slices.Equal(got, want) {
		t.Errorf("delivered %s", got)
	}
	settledAll(t, conn)
	runRelay(t, env, "audit").wants(t, exitDone)
}

func connected(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closePostgres(conn) })
	return conn
}

// A dump is restored into a cluster whose ids are higher, so that nothing lies in its future and the cursor covers what
// is written there. It must not be taken for one that was upgraded.
func TestRebase_ADumpIsNoUpgrade(t *testing.T) {
	_, conn, _, halt := delivering(t, 0)
	for n := range 5 {
		execute(t, conn, fmt.Sprintf(`insert into outbox.events (topic, key, payload) values ('orders', 'k', '%d')`, n))
	}
	settledAll(t, conn)
	halt()
	execute(t, conn, `insert into outbox.events (topic, key, payload) values ('orders', 'k', '5')`)
	there, other := restoredElsewhere(t, conn, "--inserts", "--rows-per-insert=1")
	behind := query(t, conn, `select pg_current_xact_id()::text`)
	for query(t, other, `select (pg_current_xact_id()::text::bigint < `+behind+`)::text`) == "true" {
		execute(t, other, `do $$ begin for i in 1..1000 loop begin perform txid_current(); exception when others then null; end; end loop; end $$`)
	}
	execute(t, other, `insert into outbox.events (topic, key, payload) values ('orders', 'k', '6')`)
	kafka, b := broker(t, map[string]int32{"orders": 4})
	env := append([]string{"RELAY_POSTGRES_URL=" + there, "RELAY_OUTBOX_WAKE=poll", "RELAY_HTTP_LISTEN="}, kafka...)
	startDaemon(t, env)
	done := decode[store.Rebased](t, runRelay(t, env, "rebase", "--yes", "--json").wants(t, exitDone))
	if !done.Needed || done.Upgraded || done.Pending < 2 {
		t.Errorf("%+v", done)
	}
	settledAll(t, other)
	if got := valuesOf(t, b, "orders", int(done.Pending)); !slices.Contains(got, "5") || !slices.Contains(got, "6") {
		t.Errorf("delivered %s", got)
	}
}

// spendIDs brings the transaction ids of this cluster far above those of a new one. So a cursor from here would cover
// what is written there, and no event from here has the id of a transaction that restored it.
func spendIDs(t *testing.T) {
	t.Helper()
	_, elsewhere := emptyDatabase(t)
	execute(t, elsewhere, `create table spent (i int);
		do $$ begin for i in 1..4000 loop begin insert into spent values (i); exception when others then null; end; end loop; end $$`)
}

// restoredElsewhere dumps a database and restores it into another cluster. Options are pg_dump's.
func restoredElsewhere(t *testing.T, conn *pgx.Conn, options ...string) (there string, other *pgx.Conn) {
	t.Helper()
	server, err := postgres.Start(t.Context(), postgres.Options{Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	dump := filepath.Join(t.TempDir(), "dump")
	pg := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), filepath.Join(server.Binaries(), name), args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	pg("pg_dump", append(options, "--format=custom", "--file", dump, conn.Config().ConnString())...)
	if _, err := os.Stat(dump); err != nil {
		t.Fatal(err)
	}
	there = server.URL("postgres")
	pg("pg_restore", "--dbname", there, "--no-owner", dump)
	other, err = pgx.Connect(t.Context(), there)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closePostgres(other) })
	return there, other
}

// With exactly_once Kafka knows the outbox by its transactional id, and the copy asks for the same one. The relay of the
// original is not disturbed, and the copy begins under another id.
func TestRebase_OfACopyDoesNotFenceTheOriginal(t *testing.T) {
	env, conn, b, _ := delivering(t, 50, "RELAY_OUTBOX_DELIVERY=exactly_once", "RELAY_KAFKA_TRANSACTIONAL_ID=shop")
	there, other := restoredElsewhere(t, conn)
	copied := append(slices.Clone(env), "RELAY_POSTGRES_URL="+there)
	if done := decode[store.Rebased](t, runRelay(t, copied, "rebase", "--yes", "--json").wants(t, exitDone)); !done.Needed || done.Pending != 0 {
		t.Errorf("%+v", done)
	}
	session := `select concat(epoch, ' ', session) from outbox.relays`
	before := query(t, conn, session)
	execute(t, other, `insert into outbox.events (topic, key, payload) values ('orders', 'k', '"of the copy"')`)
	var said journal
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() { ended <- Main(ctx, []string{"run"}, copied, strings.NewReader(""), io.Discard, &said) }()
	t.Cleanup(stop)
	until(t, "the copy says whose the id is", func() bool { return strings.Contains(said.String(), "is in use by another outbox") })
	execute(t, conn, `insert into outbox.events (topic, key, payload) values ('orders', 'k', '"of the original"')`)
	settledAll(t, conn)
	stop()
	if code := <-ended; code != exitDone {
		t.Errorf("code %d: %s", code, said.String())
	}
	if after := query(t, conn, session); after != before {
		t.Errorf("the original's relay was disturbed: epoch and session %s, then %s", before, after)
	}
	startDaemon(t, append(copied, "RELAY_KAFKA_TRANSACTIONAL_ID=shop-copy"))
	settledAll(t, other)
	got := valuesOf(t, b, "orders", 52)
	if len(got) != 52 || !slices.Contains(got, `"of the copy"`) || !slices.Contains(got, `"of the original"`) {
		t.Errorf("%d records: %s", len(got), got)
	}
}

// journal is a log that is read while it is written.
type journal struct {
	mu sync.Mutex
	b  []byte
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.b = append(j.b, p...)
	return len(p), nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.b)
}
