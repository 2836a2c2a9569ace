package node

import (
	"context"
	"errors"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/fake"
	"github.com/outboxrelay/relay/internal/devenv/gobuild"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

func TestPackages(t *testing.T) {
	if testing.Short() {
		t.Skip("npm and real clients: not with -short")
	}
	url := postgres.NewDatabase(t)
	migrate.ForTest(t, url, "outbox")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "create table business (name text primary key)"); err != nil {
		t.Fatal(err)
	}
	if !installed(t) {
		npm(t, "ci")
	}
	const role = "writer of packages"
	if _, err := conn.Exec(t.Context(), `create role "`+role+`" login`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the database goes, and after the test's context
		if _, err := conn.Exec(context.Background(), `drop owned by "`+role+`"; drop role "`+role+`"`); err != nil {
			t.Error(err)
		}
		conn.Close(context.Background())
	})
	if err := migrate.GrantWriter(t.Context(), url, "outbox", role); err != nil {
		t.Fatal(err)
	}
	writer, err := neturl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	writer.User = neturl.User(role)
	broker := fake.ForTest(t, map[string]int32{"orders": 2})
	if err := errors.Join(gobuild.Reads("."), gobuild.Reads("../../docs/node"), gobuild.Reads("../../docs/nestjs")); err != nil {
		t.Fatal(err)
	}
	npm(t, "run build")
	for _, name := range []string{"core", "nestjs"} {
		t.Run(name, func(t *testing.T) {
			npm(t, "run test --workspace @outboxrelay/"+name,
				"DATABASE_URL="+url, "WRITER_URL="+writer.String(), "KAFKA_BROKERS="+strings.Join(broker.Brokers(), ","))
		})
	}
}

// installed tells whether node_modules is what the lock file says: npm writes its own record there last.
func installed(t *testing.T) bool {
	t.Helper()
	record, err := os.Stat(filepath.Join("node_modules", ".package-lock.json"))
	if err != nil {
		return false
	}
	lock, err := os.Stat("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	return record.ModTime().After(lock.ModTime())
}

func npm(t *testing.T, command string, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "npm", strings.Fields(command)...)
	// Prisma's generator asks for an engine that it does not use, and would fetch it.
	cmd.Env = append(os.Environ(), append(env, "PRISMA_SCHEMA_ENGINE_BINARY=/bin/true", "CHECKPOINT_DISABLE=1", "NO_COLOR=1")...)
	// npm starts programs of its own: a test that is cut short ends them too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	output, err := cmd.CombinedOutput()
	if testing.Verbose() {
		t.Logf("npm %s\n%s", command, output)
	}
	if err != nil {
		t.Fatalf("npm %s: %v\n%s", command, err, output)
	}
}
