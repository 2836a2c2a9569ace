package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The one server of a test process. It is package state on purpose: a server a test costs half a second each, and
// the end of the process ends it.
var (
	shared    = sync.OnceValues(startShared)
	databases atomic.Int64
)

func startShared() (*Server, error) {
	return Start(context.Background(), Options{Settings: map[string]string{
		// Nothing here has to survive a power cut. A killed server still loses nothing.
		"fsync":            "off",
		"full_page_writes": "off",

		"max_connections":           "200",
		"max_prepared_transactions": "64",
		"shared_buffers":            "64MB",
	}})
}

// ForTest returns the server that the tests of this process share, started at the first call and ended with the
// process. Tests that restart, kill or freeze a server start one of their own. It fails the test when the machine
// has no PostgreSQL, and says what to install.
func ForTest(tb testing.TB) *Server {
	tb.Helper()
	server, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	return server
}

// NewDatabase makes an empty database on the shared server and returns its URL. The end of the test drops it,
// whoever is still connected.
func NewDatabase(tb testing.TB) string {
	tb.Helper()
	server := ForTest(tb)
	name := fmt.Sprintf("test_%d", databases.Add(1))
	execute(tb, server, "create database "+name)
	tb.Cleanup(func() { execute(tb, server, "drop database if exists "+name+" with (force)") })
	return server.URL(name)
}

// NeedDisks skips the test where a server cannot have a disk of its own.
func NeedDisks(tb testing.TB) {
	tb.Helper()
	if err := CanMakeDisks(); err != nil {
		tb.Skip(err)
	}
}

func execute(tb testing.TB, server *Server, sql string) {
	tb.Helper()
	// Not the test's context: it is over when the cleanup runs.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		tb.Fatalf("connect to the test server: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}
