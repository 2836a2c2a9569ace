package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/devenv/fake"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

// result is what a run of the program left behind.
type result struct {
	code        int
	out, errors string
}

// runRelay runs the program in process with nothing but this environment, in an empty directory.
func runRelay(t *testing.T, env []string, args ...string) result {
	t.Helper()
	return runWith(t, env, "", args...)
}

func runWith(t *testing.T, env []string, stdin string, args ...string) result {
	t.Helper()
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errors bytes.Buffer
	code := Main(ctx, args, env, strings.NewReader(stdin), &out, &errors)
	return result{code: code, out: out.String(), errors: errors.String()}
}

// wants fails the test unless the program ended with this code, and returns what it printed.
func (r result) wants(t *testing.T, code int) string {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, wanted %d\nstdout: %s\nstderr: %s", r.code, code, r.out, r.errors)
	}
	return r.out
}

// decode reads the one JSON document that a command printed.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var document T
	decoder := json.NewDecoder(strings.NewReader(text))
	if err := decoder.Decode(&document); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if decoder.More() {
		t.Fatalf("more than one document in %s", text)
	}
	return document
}

// database is the environment that leads to a fresh database, with the outbox in it.
func database(t *testing.T) (env []string, conn *pgx.Conn) {
	t.Helper()
	env, conn = emptyDatabase(t)
	migrate.ForTest(t, conn.Config().ConnString(), "outbox")
	return env, conn
}

func emptyDatabase(t *testing.T) (env []string, conn *pgx.Conn) {
	t.Helper()
	url := postgres.NewDatabase(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closePostgres(conn) })
	return []string{"RELAY_POSTGRES_URL=" + url}, conn
}

func execute(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// newRoles makes roles that may log in, for one test.
func newRoles(t *testing.T, conn *pgx.Conn, roles ...string) {
	t.Helper()
	for _, role := range roles {
		execute(t, conn, "create role "+role+" login")
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if _, err := conn.Exec(ctx, "drop owned by "+role+"; drop role "+role); err != nil {
				t.Error(err)
			}
		})
	}
}

// broker is the environment that leads to a fresh broker with these topics.
func broker(t *testing.T, topics map[string]int32) (env []string, b *fake.Broker) {
	t.Helper()
	b = fake.ForTest(t, topics)
	return []string{"RELAY_KAFKA_BROKERS=" + strings.Join(b.Brokers(), ",")}, b
}

func produce(t *testing.T, b *fake.Broker, records ...*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// listen takes a port of this machine and gives each connection to the function.
func listen(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { defer conn.Close(); serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
