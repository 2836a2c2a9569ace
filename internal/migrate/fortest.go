package migrate

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// ForTest makes the schema with everything in it, in one round trip, for tests that are about something else. The
// schema must not be there yet.
func ForTest(tb testing.TB, url, schema string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		tb.Fatalf("connect to migrate schema %q: %v", schema, err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "create schema "+quote(schema)+"; set search_path to "+quote(schema)+";\n"+SQL()); err != nil {
		tb.Fatalf("migrate schema %q: %v", schema, err)
	}
}
