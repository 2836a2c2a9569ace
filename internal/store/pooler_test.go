package store

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/pgbouncer"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/pgsession"
)

// pooled is the URL of a fresh database behind a pooler.
func pooled(t *testing.T, mode string, size int) string {
	t.Helper()
	u, err := url.Parse(database(t))
	if err != nil {
		t.Fatal(err)
	}
	p := pgbouncer.ForTest(t, pgbouncer.Options{Server: postgres.ForTest(t), Mode: mode, PoolSize: size})
	return p.URL(strings.TrimPrefix(u.Path, "/"))
}

func TestConnect_RefusesAPoolerThatKeepsNoSessions(t *testing.T) {
	for _, mode := range []string{"transaction", "statement"} {
		for _, size := range []int{1, 20} {
			url := pooled(t, mode, size)
			c, err := Connect(t.Context(), fixed(url), "test")
			if err == nil {
				closeSoon(c)
			}
			if !errors.Is(err, pgsession.ErrPooled) {
				t.Errorf("%s mode, pool of %d: %v, want ErrPooled", mode, size, err)
			}
			// Nothing of the session rules may be on a connection that an application gets.
			application, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer application.Close(context.Background())
			var scans, path string
			err = application.QueryRow(t.Context(), "select current_setting('enable_seqscan'), current_setting('search_path')",
				pgx.QueryExecModeExec).Scan(&scans, &path)
			if err != nil || scans != "on" || path == "pg_catalog" {
				t.Errorf("%s mode: an application's connection has enable_seqscan %q, search_path %q (%v)", mode, scans, path, err)
			}
		}
	}
}

// An idle pool gives a client the same server connection again and again, and a busy one does not. Both are found out.
func TestConnect_RefusesABusyTransactionPool(t *testing.T) {
	url := pooled(t, "transaction", 8)
	for range 5 {
		busy := plain(t, url)
		if _, err := busy.PgConn().Exec(t.Context(), "begin; select 1").ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Connect(t.Context(), fixed(url), "test"); !errors.Is(err, pgsession.ErrPooled) {
		t.Errorf("%v, want ErrPooled", err)
	}
}

func TestConnect_TakesAPoolerInSessionMode(t *testing.T) {
	url := pooled(t, "session", 20)
	began := time.Now()
	c := connect(t, url)
	t.Logf("connected in %v", time.Since(began))
	var pid uint32
	if err := c.QueryRow(t.Context(), "select pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if pid == c.PgConn().PID() {
		t.Error("the pooler gives its clients the server's process number: it is not recognized as one")
	}
	// And all of the rest works through it.
	s := openSession(t, url, acquire(t, url))
	execute(t, plain(t, url), "insert into outbox.events (topic, payload) values ('t', '1')")
	payloads, next, books := readAll(t, s, s.position.Cursor)
	if len(payloads) != 1 {
		t.Fatalf("read %q", payloads)
	}
	if _, err := s.settler.Settle(t.Context(), &Settlement{Cursor: next, Books: books}); err != nil {
		t.Error(err)
	}
	id, err := Identify(t.Context(), c, In(schema))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewDoorbell(t.Context(), c, id); err != nil {
		t.Error(err)
	}
	// The pooler waits for its clients, and the test's end for the pooler.
	s.close()
}
