package migrate

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/migrations"
)

// hostileNames are legal schema names that fall apart wherever somebody forgets to quote.
var hostileNames = []string{"outbox", `we"ird Schema`, `x"; drop schema public; --`, "select", "späti", `back\slash`, `o'brien`, `a,b`, `:"role"`}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func text(t *testing.T, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	var s string
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

// tables describes what a schema holds, so that two ways of making it can be compared.
const tables = `select string_agg(format('%s %s', c.relkind, c.relname), E'\n' order by c.relname)
from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1`

// withNext adds a migration of the kind the future brings: a new column, which a view then shows.
func withNext(t *testing.T) fs.FS {
	t.Helper()
	files := fstest.MapFS{"9000_next.sql": {Data: []byte(`-- +goose Up
alter table events add column if not exists tenant text;
create or replace view lag as select null::text as name, 1::bigint as pending, now() as oldest_created_at,
    0::double precision as lag_seconds, 'new' as era;
insert into relay_migrations (version) values (9000) on conflict do nothing;
`)}}
	for _, name := range fileNames(migrations.FS) {
		data, err := fs.ReadFile(migrations.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	return files
}

func TestUp_AppliesOnceAndSaysWhat(t *testing.T) {
	url := postgres.NewDatabase(t)
	before, err := Status(t.Context(), url, "outbox")
	if err != nil {
		t.Fatal(err)
	}
	if len(before) == 0 || before[0].Applied || before[0].Name != "0001_outbox" {
		t.Fatalf("status of an empty database: %+v", before)
	}

	var told []Step
	applied, err := Up(t.Context(), url, "outbox", func(s Step) { told = append(told, s) })
	if err != nil {
		t.Fatal(err)
	}
	if len(applied) != len(before) || len(told) != len(applied) || applied[0].Took <= 0 {
		t.Fatalf("applied %+v, told %+v", applied, told)
	}

	after, err := Status(t.Context(), url, "outbox")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range after {
		if !step.Applied || step.Changed || step.Unknown || time.Since(step.AppliedAt).Abs() > time.Hour {
			t.Errorf("status after up: %+v", step)
		}
	}
	if again, err := Up(t.Context(), url, "outbox", func(Step) { t.Error("progress without a step") }); err != nil || len(again) != 0 {
		t.Errorf("second up: %v, %v", again, err)
	}
}

func TestUp_ManyAtOnceApplyEachStepOnce(t *testing.T) {
	url := postgres.NewDatabase(t)
	files := withNext(t)
	var mu sync.Mutex
	count := map[string]int{}
	var all sync.WaitGroup
	for i := range 24 {
		schema := []string{"outbox", "second"}[i%2]
		all.Go(func() {
			if _, err := up(t.Context(), files, url, schema, func(s Step) {
				mu.Lock()
				defer mu.Unlock()
				count[schema+" "+s.Name]++
			}); err != nil {
				t.Errorf("up: %v", err)
			}
		})
	}
	all.Wait()
	for _, step := range []string{"outbox 0001_outbox", "outbox 9000_next", "second 0001_outbox", "second 9000_next"} {
		if count[step] != 1 {
			t.Errorf("%s was applied %d times", step, count[step])
		}
	}
	left := text(t, connect(t, url), `select count(*)::text from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`)
	if left != "0" {
		t.Errorf("%s advisory locks left behind", left)
	}
}

func TestUp_QuotesEverySchemaName(t *testing.T) {
	url := postgres.NewDatabase(t)
	conn := connect(t, url)
	for _, schema := range hostileNames {
		if _, err := Up(t.Context(), url, schema, nil); err != nil {
			t.Errorf("up %q: %v", schema, err)
			continue
		}
		exec(t, conn, fmt.Sprintf(`insert into %s.events (topic, payload) values ('t', '{}')`, quote(schema)))
		if pending := text(t, conn, fmt.Sprintf(`select pending::text from %s.lag`, quote(schema))); pending != "1" {
			t.Errorf("schema %q: %s pending", schema, pending)
		}
		if steps, err := Status(t.Context(), url, schema); err != nil || !steps[0].Applied {
			t.Errorf("status %q: %v, %v", schema, steps, err)
		}
	}
	if public := text(t, conn, `select count(*)::text from pg_class where relnamespace = 'public'::regnamespace`); public != "0" {
		t.Errorf("%s relations went to public", public)
	}
}

// A statement of Up waits for longer than the address allows statements to take: for a schema that somebody is making.
func TestUp_KeyValueAddressAndForeignSettings(t *testing.T) {
	url := postgres.NewDatabase(t)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url)
	exec(t, conn, "begin")
	exec(t, conn, "create schema outbox")
	address := fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable options='-c search_path=public -c statement_timeout=500'", config.Host, config.Port, config.User, config.Database)
	done := make(chan error, 1)
	go func() {
		_, err := Up(t.Context(), address, "outbox", nil)
		done <- err
	}()
	const waits = `select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
		and clock_timestamp() - query_start > '800 ms')::text`
	for watch := connect(t, url); text(t, watch, waits) != "true"; time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-done:
			t.Fatalf("Up did not wait for the schema: %v", err)
		default:
		}
	}
	exec(t, conn, "rollback")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if found := text(t, conn, `select (to_regclass('outbox.events') is not null)::text`); found != "true" {
		t.Error("the tables are not in the schema asked for")
	}
}

func TestUp_RefusesWithTheCure(t *testing.T) {
	url := postgres.NewDatabase(t)
	conn := connect(t, url)
	exec(t, conn, `create schema taken; create table taken.events (id int)`)
	refusals := []struct{ name, schema, want string }{
		{"no name", "", "no name"},
		{"too long", strings.Repeat("x", 64), "64 bytes"},
		{"reserved", "pg_outbox", "pg_"},
		{"the role's own", "$user", "search_path takes it for the role's name"},
		{"zero byte", "a\x00b", "not UTF-8"},
		{"not ours", "taken", "something else named events"},
	}
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			if _, err := Up(t.Context(), url, r.schema, nil); err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("got %v, want %q in it", err, r.want)
			}
		})
	}
	if got := text(t, conn, tables, "taken"); got != "r events" {
		t.Errorf("the foreign schema was touched: %s", got)
	}
}

func TestUp_SaysWhoMay(t *testing.T) {
	url := postgres.NewDatabase(t)
	conn := connect(t, url)
	exec(t, conn, `drop role if exists "no body"; create role "no body" login`)
	t.Cleanup(func() { dropRole(t, url, "no body") })
	config, _ := pgx.ParseConfig(url)
	nobody := fmt.Sprintf("host=%s port=%d user='no body' dbname=%s sslmode=disable", config.Host, config.Port, config.Database)

	_, err := Up(t.Context(), nobody, "outbox", nil)
	want := fmt.Sprintf("grant create on database \"%s\" to \"no body\"", config.Database)
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `its owner "postgres"`) {
		t.Errorf("no schema: got %v, want %q in it", err, want)
	}
	exec(t, conn, `create schema outbox`)
	exec(t, conn, `grant usage on schema outbox to "no body"`)
	if _, err = Up(t.Context(), nobody, "outbox", nil); err == nil || !strings.Contains(err.Error(), `schema's owner "postgres"`) {
		t.Errorf("somebody else's schema: got %v", err)
	}
	// What the message says must be the cure.
	exec(t, conn, `drop schema outbox; `+want)
	if _, err = Up(t.Context(), nobody, "outbox", nil); err != nil {
		t.Errorf("after the grant: %v", err)
	}
}

// dropRole is for cleanups, when the test's own context is over.
func dropRole(t *testing.T, url, role string) {
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), "drop owned by "+quote(role)+"; drop role "+quote(role)); err != nil {
		t.Error(err)
	}
}

func TestUp_GivesWayToALongTransaction(t *testing.T) {
	url := postgres.NewDatabase(t)
	ForTest(t, url, "outbox")
	writer, watcher := connect(t, url), connect(t, url)
	exec(t, writer, `begin; insert into outbox.events (topic, payload) values ('t', '{}')`)

	done := make(chan error, 1)
	go func() {
		_, err := up(t.Context(), withNext(t), url, "outbox", nil)
		done <- err
	}()
	const waits = `select count(*)::text from pg_stat_activity where application_name = 'relay migrate' and wait_event_type = 'Lock' and datname = current_database()`
	eventually(t, "the migration waits for the writer", func() bool { return text(t, watcher, waits) == "1" })
	eventually(t, "the migration gives way", func() bool { return text(t, watcher, waits) == "0" })
	select {
	case err := <-done:
		t.Fatalf("the migration ended under a long transaction: %v", err)
	default:
	}
	exec(t, writer, `commit`)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, claim func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !claim() {
		if time.Now().After(deadline) {
			t.Fatalf("after 20 s still not: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestUp_AFailedStepLeavesNothing(t *testing.T) {
	url := postgres.NewDatabase(t)
	files := withNext(t).(fstest.MapFS)
	files["9001_bad.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\ncreate table half (a int);\nselect 1 / 0;\n")}
	applied, err := up(t.Context(), files, url, "outbox", nil)
	if err == nil || !strings.Contains(err.Error(), "9001_bad") || len(applied) != len(files)-1 {
		t.Fatalf("applied %v, error %v", applied, err)
	}
	if found := text(t, connect(t, url), `select coalesce(to_regclass('outbox.half')::text, 'none')`); found != "none" {
		t.Errorf("half a migration stays: %s", found)
	}
}

func TestStatus_KnowsChangedAndNewerSteps(t *testing.T) {
	url := postgres.NewDatabase(t)
	if _, err := up(t.Context(), withNext(t), url, "outbox", nil); err != nil {
		t.Fatal(err)
	}
	exec(t, connect(t, url), `update outbox.relay_migrations set checksum = 'of another text' where version = 1`)
	steps, err := Status(t.Context(), url, "outbox")
	if err != nil {
		t.Fatal(err)
	}
	if !steps[0].Changed {
		t.Errorf("the changed step does not say so: %+v", steps[0])
	}
	last := steps[len(steps)-1]
	if last.Version != 9000 || !last.Unknown || !last.Applied {
		t.Errorf("a newer relay's step: %+v", last)
	}
	if applied, err := Up(t.Context(), url, "outbox", nil); err != nil || len(applied) != 0 {
		t.Errorf("an older binary on a newer schema: %v, %v", applied, err)
	}
}

func TestJudgeServer(t *testing.T) {
	if err := judgeServer(13_14_00, "13.14", false); err == nil || !strings.Contains(err.Error(), "13.14 is too old") {
		t.Errorf("13.14: %v", err)
	}
	if err := judgeServer(14_00_00, "14.0", false); err != nil {
		t.Errorf("14.0: %v", err)
	}
	if err := judgeServer(17_00_02, "17.2", true); err == nil || !strings.Contains(err.Error(), "standby") {
		t.Errorf("standby: %v", err)
	}
}
