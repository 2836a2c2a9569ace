//go:build linux

package acceptance

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/outboxrelay/relay/internal/devenv/pgbouncer"
	"github.com/outboxrelay/relay/outbox"
)

// pooled says which database of the pooler keeps sessions; every other is pooled by transaction.
const pooled = "outbox_session"

func (s *site) pooler() *pgbouncer.Pooler {
	return pgbouncer.ForTest(s.t, pgbouncer.Options{Server: s.pg, Mode: "transaction", PoolSize: 5,
		Databases: map[string]string{pooled: "dbname=postgres pool_mode=session"}})
}

// TestPooler_WritersInTransactionModeAndARelayInSessionMode is the arrangement that docs/pgbouncer.md advises: thirty
// clients of each kind share five connections in transaction mode, and relay has a session.
func TestPooler_WritersInTransactionModeAndARelayInSessionMode(t *testing.T) {
	binary := setUp(t)
	t.Parallel()
	s := newSite(t, nil, nil)
	p := s.pooler()
	d := s.relay(binary, "RELAY_POSTGRES_URL="+p.URL(pooled))
	l := d.saysSoon("session began", time.Minute)
	if l.Wake != "listen" {
		t.Errorf("through a session of the pooler relay wakes by %q, want listen", l.Wake)
	}
	const clients, transactions = 30, 40
	ways := map[string]func(t *testing.T, ctx context.Context, client int) error{
		"pgx":          pgxWriter(p.URL("postgres")+"&default_query_exec_mode=exec", s.topic, transactions),
		"database/sql": sqlWriter(p.URL("postgres")+"&default_query_exec_mode=exec", s.topic, transactions),
	}
	failures := make(chan error, len(ways)*clients)
	for _, write := range ways {
		for i := range clients {
			go func() { failures <- write(t, t.Context(), i) }()
		}
	}
	for range cap(failures) {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	want := int64(len(ways) * clients * transactions * 2)
	s.settled(d, want, time.Minute)
	if got := s.stored(s.topic); got != want {
		t.Errorf("%d records of %d events", got, want)
	}
	d.stop(20 * time.Second)
}

func pgxWriter(url, topic string, transactions int) func(*testing.T, context.Context, int) error {
	return func(_ *testing.T, ctx context.Context, client int) error {
		pool, err := pgxpool.New(ctx, url)
		if err != nil {
			return err
		}
		defer pool.Close()
		for n := range transactions {
			err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				return outbox.Insert(ctx, tx, pair(topic, fmt.Sprint("pgx-", client), n)...)
			})
			if err != nil {
				return fmt.Errorf("pgx, client %d: %w", client, err)
			}
		}
		return nil
	}
}

func sqlWriter(url, topic string, transactions int) func(*testing.T, context.Context, int) error {
	return func(_ *testing.T, ctx context.Context, client int) error {
		db, err := sql.Open("pgx", url)
		if err != nil {
			return err
		}
		defer db.Close()
		for n := range transactions {
			tx, err := db.BeginTx(ctx, nil)
			if err == nil {
				err = outbox.Insert(ctx, outbox.SQL(tx), pair(topic, fmt.Sprint("sql-", client), n)...)
			}
			if err == nil {
				err = tx.Commit()
			}
			if err != nil {
				return fmt.Errorf("database/sql, client %d: %w", client, err)
			}
		}
		return nil
	}
}

// pair is two events of which one has all that an event can have.
func pair(topic, key string, n int) []outbox.Event {
	return []outbox.Event{
		{Topic: topic, Key: key, Type: "Counted", Payload: outbox.JSON(n), Headers: map[string]string{"a": "b"}},
		{Topic: topic, Key: key, ID: outbox.NewID(), Payload: outbox.Binary([]byte{0, 1, 2}), DeliverAt: time.Now()},
	}
}

// TestPooler_ADefaultPgxNeedsTheSetting is why the page says what to set: pgx names its statements by default, and two
// clients that get the same server connection do not have the same names on it.
func TestPooler_ADefaultPgxNeedsTheSetting(t *testing.T) {
	setUp(t)
	t.Parallel()
	s := newSite(t, nil, nil)
	p := pgbouncer.ForTest(t, pgbouncer.Options{Server: s.pg, Mode: "transaction", PoolSize: 1})
	var failed error
	for range 2 {
		c := must(pgx.Connect(t.Context(), p.URL("postgres")))(t)
		defer c.Close(context.Background())
		for n := range 2 {
			err := pgx.BeginFunc(t.Context(), c, func(tx pgx.Tx) error {
				return outbox.Insert(t.Context(), tx, pair(s.topic, "k", n)...)
			})
			if err != nil {
				failed = err
			}
		}
	}
	t.Logf("without the setting: %v", failed)
	if failed == nil {
		t.Skip("this PgBouncer keeps prepared statements apart (1.21 or newer)")
	}
}

// TestPooler_TransactionModeIsRefusedWithTheCure: by the daemon, which waits for a pooler that keeps sessions, and by
// the commands.
func TestPooler_TransactionModeIsRefusedWithTheCure(t *testing.T) {
	binary := setUp(t)
	t.Parallel()
	s := newSite(t, nil, nil)
	p := s.pooler()
	file := t.TempDir() + "/url"
	write := func(url string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(url), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(p.URL("postgres"))
	d := s.relay(binary, "RELAY_POSTGRES_URL=", "RELAY_POSTGRES_URL_FILE="+file)
	l := d.saysSoon("PostgreSQL is not available, waiting", time.Minute)
	t.Log(l.text)
	for _, part := range []string{"pooler in transaction mode", "pool_mode = session"} {
		if !strings.Contains(l.text, part) {
			t.Errorf("the line has no %q: %s", part, l.text)
		}
	}
	for _, command := range [][]string{{"check"}, {"status"}, {"parked", "list"}, {"migrate", "up"}} {
		for database, refused := range map[string]bool{"postgres": true, pooled: false} {
			cmd := exec.Command(binary, command...)
			cmd.Dir = t.TempDir()
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "RELAY_POSTGRES_URL=" + p.URL(database), "RELAY_KAFKA_BROKERS=" + strings.Join(s.brokers, ",")}
			out, err := cmd.CombinedOutput()
			if said := bytes.Contains(out, []byte("pool_mode = session")); (err != nil) != refused || said != refused {
				t.Errorf("relay %s in database %s: %v\n%s", strings.Join(command, " "), database, err, out)
			}
		}
	}
	u := must(url.Parse(p.URL(pooled)))(t)
	write(u.String())
	d.saysSoon("session began", time.Minute)
	d.stop(20 * time.Second)
}
