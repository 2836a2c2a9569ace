package pgbouncer

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func execute(t *testing.T, c *pgx.Conn, sql string) {
	t.Helper()
	if _, err := c.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func backend(t *testing.T, c *pgx.Conn) (pid int) {
	t.Helper()
	if err := c.QueryRow(t.Context(), "select pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestStart_PoolsAsItsModeSays(t *testing.T) {
	server := postgres.ForTest(t)
	p := ForTest(t, Options{Server: server, Mode: "transaction", Databases: map[string]string{"direct": "dbname=postgres pool_mode=session"}})
	for name, shared := range map[string]bool{"postgres": true, "direct": false} {
		first, second := connect(t, p.URL(name)), connect(t, p.URL(name))
		before := backend(t, first)
		execute(t, second, "begin")
		if got := backend(t, second) == before; got != shared {
			t.Errorf("database %s: the second client got the first one's backend: %v, want %v", name, got, shared)
		}
		execute(t, second, "rollback")
	}
	p.Stop()
	p.Stop()
	if _, err := pgx.Connect(t.Context(), p.URL("postgres")); err == nil {
		t.Error("a stopped pooler took a connection")
	}
}

func TestStart_SaysWhyItCannot(t *testing.T) {
	if _, err := Start(t.Context(), Options{Server: postgres.ForTest(t), Mode: "no_such_mode"}); err == nil {
		t.Error("an unknown mode was taken")
	}
}
