package docs

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/fake"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

// topics are in the broker when a page begins.
var topics = map[string]int32{"orders": 4}

// patience bounds one block or command.
const patience = 30 * time.Second

// stage is what a page is played on.
type stage struct {
	t        *testing.T
	folder   string // where its commands run
	database *url.URL
	broker   string
	binaries string // PostgreSQL's
	env      []string
	daemons  []*daemon
}

// newStage makes a database with the outbox in it, a broker, and a folder that looks like the repository.
func newStage(t *testing.T) *stage {
	t.Helper()
	server := postgres.ForTest(t)
	keepRoles(t, server.URL("postgres"))
	text := postgres.NewDatabase(t)
	migrate.ForTest(t, text, "outbox")
	database, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	binaries, err := postgres.FindBinaries()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, folder: t.TempDir(), database: database, binaries: binaries}
	s.broker = strings.Join(fake.ForTest(t, topics).Brokers(), ",")
	for _, name := range []string{"migrations", "config.example.toml"} {
		s.link(filepath.Join(repository(t), name), name)
	}
	s.env = []string{
		"HOME=" + s.folder, "NO_COLOR=1", "LC_ALL=C.UTF-8",
		"PATH=" + strings.Join([]string{filepath.Join(s.folder, "bin"), binaries, os.Getenv("PATH")}, ":"),
		"DATABASE_URL=" + text, "PGHOST=" + database.Hostname(), "PGPORT=" + database.Port(),
		"PGUSER=" + database.User.Username(), "PGDATABASE=" + strings.TrimPrefix(database.Path, "/"),
		"RELAY_HTTP_LISTEN=", // pages run side by side
		"RELAY_POSTGRES_URL=" + text, "RELAY_KAFKA_BROKERS=" + s.broker,
	}
	return s
}

// keepRoles drops the roles that a page makes, when its database is gone: they belong to the whole server.
func keepRoles(t *testing.T, url string) {
	t.Helper()
	before := roles(t, url)
	t.Cleanup(func() {
		for _, role := range roles(t, url) {
			if !slices.Contains(before, role) {
				query(t, url, "drop role "+pgx.Identifier{role}.Sanitize())
			}
		}
	})
}

func roles(t *testing.T, url string) []string {
	t.Helper()
	return query(t, url, "select rolname from pg_roles where rolname !~ '^pg_'")
}

// query gives the first column.
func query(t *testing.T, url, sql string) []string {
	t.Helper()
	// Not the test's context: it is over when cleanups run.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return values
}

func repository(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *stage) link(from, to string) {
	s.t.Helper()
	to = filepath.Join(s.folder, to)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Symlink(from, to); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// unset forgets variables of the stage.
func (s *stage) unset(names ...string) {
	s.env = slices.DeleteFunc(s.env, func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains(names, name)
	})
}

var (
	postgresURL  = regexp.MustCompile(`postgres(?:ql)?://(?:([a-z0-9_]+)(?::[^@\s'"]*)?@)?[a-z0-9.:,-]+/[a-z0-9_]+(?:\?[^\s'"]*)?`)
	kafkaAddress = regexp.MustCompile(`[a-z0-9.-]+:9092(?:,[a-z0-9.-]+:9092)*`)
)

// relocate puts the addresses of the test's servers in place of those in the text. The user stays if the page has made
// that role.
func (s *stage) relocate(text string) string {
	known := roles(s.t, s.database.String())
	text = postgresURL.ReplaceAllStringFunc(text, func(old string) string {
		there := *s.database
		if user := postgresURL.FindStringSubmatch(old)[1]; slices.Contains(known, user) {
			there.User = url.User(user)
		}
		return there.String()
	})
	return kafkaAddress.ReplaceAllString(text, s.broker)
}

// run runs a program in the page's folder and fails the test unless it ends well.
func (s *stage) run(stdin, name string, args ...string) (output string, err error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = s.folder, s.env, strings.NewReader(stdin)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err = cmd.Run(); ctx.Err() != nil {
		err = fmt.Errorf("not done within %v: %w", patience, err)
	}
	return out.String(), err
}
