package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/config"
)

// FuzzNames: whatever the schema and the outbox are called, migrations and the daemon work under that name and touch
// nothing else, or refuse it before they touch anything. go test runs the seeds, on a real PostgreSQL.
func FuzzNames(f *testing.F) {
	for _, names := range [][2]string{
		{`"; drop table public.bystander; --`, `'; drop table public.bystander; --`},
		{`a"b'c\d$$e`, "main"},
		{strings.Repeat("s", 63), strings.Repeat("n", 63)},
		{strings.Repeat("漢", 21), strings.Repeat("🙂", 15)}, // 63 and 60 bytes
		{"Mixed Case, with spaces.and.dots", "%s%d {} \n\t`"},
		{"select", ""},
		{"$user", "main"},
		{"pg_mine", "main"},
		{strings.Repeat("s", 64), "main"},
		{"out\xffbox", "na\xfeme"},
	} {
		f.Add(names[0], names[1])
	}
	f.Fuzz(func(t *testing.T, schema, name string) {
		if strings.ContainsRune(schema+name, 0) {
			t.Skip("the environment cannot hold it")
		}
		env, conn := emptyDatabase(t)
		execute(t, conn, "create table public.bystander (); insert into public.bystander default values")
		kafkaEnv, _ := broker(t, map[string]int32{"orders": 1})
		env = append(append(env, kafkaEnv...), "RELAY_OUTBOX_SCHEMA="+schema, "RELAY_OUTBOX_NAME="+name,
			"RELAY_HTTP_LISTEN=", "RELAY_TOPICS_ALLOW=orders")
		fine := func(name string) bool { return name != "" && len(name) <= 63 && utf8.ValidString(name) }
		must := fine(schema) && fine(name) && schema != "$user" && schema != "public" && !strings.HasPrefix(schema, "pg_")
		worked := runRelay(t, env, "migrate", "up").code == exitDone && worksUnder(t, env, conn, schema)
		if must && !worked {
			t.Errorf("schema %q, outbox %q: refused", schema, name)
		}
		var bystanders int
		var schemas []string
		err := conn.QueryRow(t.Context(), `
select (select count(*) from public.bystander), coalesce(array_agg(nspname order by nspname), '{}') from pg_namespace
 where nspname not in ('public', 'information_schema') and nspname not like 'pg\_%'`).Scan(&bystanders, &schemas)
		if err != nil || bystanders != 1 || len(schemas) > 1 || worked && schemas[0] != schema || !worked && len(schemas) == 1 && schemas[0] != schema {
			t.Errorf("schema %q, outbox %q: %d bystanders, schemas %q, %v", schema, name, bystanders, schemas, err)
		}
	})
}

// worksUnder delivers an event; false when the configuration refuses the names.
func worksUnder(t *testing.T, env []string, conn *pgx.Conn, schema string) bool {
	t.Helper()
	cfg, err := config.Load("", env)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stop, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, stop, cfg, env, slog.New(slog.DiscardHandler)) }()
	runRelay(t, env, "insert", "--topic", "orders", "{}").wants(t, exitDone)
	tables := pgx.Identifier{schema}.Sanitize()
	for delivered := 0; delivered != 1; time.Sleep(10 * time.Millisecond) {
		if err := conn.QueryRow(ctx, "select coalesce(sum(delivered), 0) from "+tables+".relays").Scan(&delivered); err != nil {
			t.Fatalf("%d events are delivered: %v", delivered, err)
		}
	}
	for _, command := range []string{"check", "status", "parked list", "migrate status"} {
		runRelay(t, env, strings.Fields(command)...).wants(t, exitDone)
	}
	end()
	if err := <-ended; err != nil {
		t.Errorf("the daemon ended: %v", err)
	}
	return true
}
