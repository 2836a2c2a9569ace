// Package testdb gives the tests and examples of outbox a real database. It uses the standard library and pgx only, as
// everything under outbox does: what a test imports there ends up in the go.sum of every application.
package testdb

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/migrations"
)

// Main runs the tests of a package with DATABASE_URL naming a database of their own that has the schema outbox, and
// returns the exit code. Examples read DATABASE_URL as a program would.
func Main(m *testing.M) int {
	ctx := context.Background()
	server, err := postgres.Start(ctx, postgres.Options{Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer server.Stop()
	url := server.URL("postgres")
	if err := Migrate(ctx, url, "outbox"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv("DATABASE_URL", url); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Migrate makes the schema with everything in it.
func Migrate(ctx context.Context, url, schema string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to migrate: %w", err)
	}
	defer conn.Close(ctx)
	name := pgx.Identifier{schema}.Sanitize()
	script := []string{"create schema " + name, "set search_path to " + name}
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := fs.ReadFile(migrations.FS, file)
		if err != nil {
			return err
		}
		script = append(script, string(text))
	}
	if _, err := conn.Exec(ctx, strings.Join(script, ";\n")); err != nil {
		return fmt.Errorf("migrate schema %s: %w", name, err)
	}
	return nil
}

// Connect opens a connection that the end of the test closes.
func Connect(tb testing.TB) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), os.Getenv("DATABASE_URL"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// Begin opens a transaction that the end of the test rolls back.
func Begin(tb testing.TB) pgx.Tx {
	tb.Helper()
	tx, err := Connect(tb).Begin(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return tx
}
