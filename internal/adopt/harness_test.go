package adopt

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// debezium is the table of Debezium's documentation, with a payload of some type.
func debezium(payload string) string {
	return `create table outboxevent (id uuid primary key default gen_random_uuid(), aggregatetype varchar(255) not null,
		aggregateid varchar(255) not null, type varchar(255) not null, payload ` + payload + `)`
}

// newDatabase has the outbox in schema outbox, and what sql makes.
func newDatabase(t *testing.T, sql string) *pgx.Conn {
	t.Helper()
	url := postgres.NewDatabase(t)
	migrate.ForTest(t, url, "outbox")
	conn := connect(t, url)
	exec(t, conn, sql)
	return conn
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func another(t *testing.T, conn *pgx.Conn) *pgx.Conn {
	t.Helper()
	return connect(t, conn.Config().ConnString())
}

func exec(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// clean is for cleanups, when the test's own context is over.
func clean(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Errorf("%s: %v", sql, err)
	}
}

func text(t *testing.T, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	var s *string
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if s == nil {
		return ""
	}
	return *s
}

// planned is the plan for a table, which has to fit.
func planned(t *testing.T, conn *pgx.Conn, table, order string, fields ...string) *Plan {
	t.Helper()
	p, err := plan(t.Context(), conn, "outbox", table, order, fields...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func plan(ctx context.Context, conn *pgx.Conn, schema, table, order string, fields ...string) (*Plan, error) {
	m, layoutOrder, err := ParseMap(fields)
	if err != nil {
		return nil, err
	}
	s, err := Inspect(ctx, conn, schema, table)
	if err != nil {
		return nil, err
	}
	if order == "" {
		order = layoutOrder
	}
	return NewPlan(schema, s, m, order)
}

// install adopts a table over a connection of its own.
func install(t *testing.T, conn *pgx.Conn, table, order string, fields ...string) *Plan {
	t.Helper()
	p := planned(t, conn, table, order, fields...)
	if err := adopter(t, conn).Install(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func adopter(t *testing.T, conn *pgx.Conn) *Adopter {
	t.Helper()
	a, err := Open(t.Context(), another(t, conn))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func found(t *testing.T, conn *pgx.Conn, table string) *Adoption {
	t.Helper()
	a, err := Find(t.Context(), conn, "outbox", table)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func former(t *testing.T, conn *pgx.Conn, table string) *Adoption {
	t.Helper()
	a, err := FindFormer(t.Context(), conn, "outbox", table)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// keys of the events, in their order.
func keys(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return text(t, conn, `select string_agg(coalesce(key, '-'), ' ' order by seq) from outbox.events`)
}

// refused fails the test unless the error is of this SQLSTATE and its text, detail and hint hold these words.
func refused(t *testing.T, err error, code string, words ...string) {
	t.Helper()
	server, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || server.Code != code {
		t.Fatalf("%v, want SQLSTATE %s", err, code)
	}
	all := server.Message + "\n" + server.Detail + "\n" + server.Hint
	for _, word := range words {
		if !strings.Contains(all, word) {
			t.Errorf("no %q in\n%s", word, all)
		}
	}
}
