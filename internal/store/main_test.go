package store

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/devenv/proxy"
	"github.com/outboxrelay/relay/internal/migrate"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, append(proxy.Leaks(), goleak.IgnoreTopFunction("os/exec.(*Cmd).Wait"),
		goleak.IgnoreAnyFunction("github.com/outboxrelay/relay/internal/devenv/process.Start.func1"))...)
}

const schema = "outbox"

// database is a fresh, migrated database.
func database(t testing.TB) string {
	t.Helper()
	url := postgres.NewDatabase(t)
	migrate.ForTest(t, url, schema)
	return url
}

func fixed(url string) ConnString { return func() (string, error) { return url, nil } }

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	c, err := Connect(t.Context(), fixed(url), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeSoon(c) })
	return c
}

func plain(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeSoon(c) })
	return c
}

func execute(t testing.TB, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := c.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// session is a reader, a settler and the position they start from, as the relay opens them.
type testSession struct {
	reader   *Reader
	settler  *Settler
	position Position
	names    Names
}

func openSession(t testing.TB, url string, epoch int64) *testSession {
	t.Helper()
	names := In(schema)
	conn := connect(t, url)
	id, err := Identify(t.Context(), conn, names)
	if err != nil {
		t.Fatal(err)
	}
	s := &testSession{names: names}
	if s.reader, err = NewReader(t.Context(), conn, names, fixed(url)); err != nil {
		t.Fatal(err)
	}
	s.settler = NewSettler(connect(t, url), names, "main")
	if s.position, err = ReadPosition(t.Context(), conn, names, "main", "test", epoch, id); err != nil {
		t.Fatal(err)
	}
	s.settler.Begin(s.position.Fence)
	return s
}

func (s *testSession) close() {
	s.reader.Close()
	s.settler.Close()
}

func acquire(t testing.TB, url string) int64 {
	t.Helper()
	lease := NewLease(connect(t, url), In(schema), "main", "test", time.Minute)
	epoch, ok, err := lease.Acquire(t.Context())
	if err != nil || !ok {
		t.Fatalf("acquire: %v %v", ok, err)
	}
	return epoch
}
