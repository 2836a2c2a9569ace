package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

type checkReport struct {
	OK       bool
	Findings []finding
}

// has says whether a finding of this check and status contains the text, in its message or its cure.
func (r checkReport) has(check, status, text string) bool {
	return slices.ContainsFunc(r.Findings, func(f finding) bool {
		return f.Check == check && f.Status == status && strings.Contains(f.Message+"\n"+f.Cure, text)
	})
}

func TestCheck_AllIsWell(t *testing.T) {
	env, conn := database(t)
	kafkaEnv, _ := broker(t, map[string]int32{"orders": 3})
	env = append(env, kafkaEnv...)
	execute(t, conn, `insert into outbox.events (topic, payload) values ('orders', '{}')`)
	r := decode[checkReport](t, runRelay(t, env, "check", "--json").wants(t, exitDone))
	if !r.OK {
		t.Errorf("%+v", r)
	}
	for _, want := range [][3]string{
		{"configuration", statusOK, "valid"}, {"postgres", statusOK, "PostgreSQL 1"}, {"schema", statusOK, "all migrations"},
		{"rights", statusWarn, "superuser"}, {"wake", statusOK, ""}, {"clock", statusOK, ""}, {"kafka", statusOK, "1 broker"},
		{"topic", statusWarn, "orders: replication factor 1"},
	} {
		if !r.has(want[0], want[1], want[2]) {
			t.Errorf("%v is missing in %+v", want, r.Findings)
		}
	}
	out := runRelay(t, env, "check").wants(t, exitDone)
	if !strings.Contains(out, "ok    postgres ") || !strings.Contains(out, "0 failures") || strings.Contains(out, "\x1b") {
		t.Error(out)
	}
}

func TestCheck_FindsWhatIsWrong(t *testing.T) {
	kafkaEnv, _ := broker(t, map[string]int32{"allowed": 1})
	t.Run("no outbox", func(t *testing.T) {
		env, _ := emptyDatabase(t)
		r := decode[checkReport](t, runRelay(t, append(env, kafkaEnv...), "check", "--json").wants(t, exitFound))
		if r.OK || !r.has("schema", statusFail, "relay migrate up") || !r.has("kafka", statusOK, "") {
			t.Errorf("%+v", r)
		}
	})
	t.Run("missing and held topics", func(t *testing.T) {
		env, conn := database(t)
		execute(t, conn, `insert into outbox.events (topic, payload) values ('typo', '{}'), ('other', '{}')`)
		env = append(env, "RELAY_TOPICS_ALLOW=allowed,typo,gone*")
		r := decode[checkReport](t, runRelay(t, append(env, kafkaEnv...), "check", "--json").wants(t, exitFound))
		if !r.has("topic", statusFail, "typo: does not exist") || !r.has("topic", statusWarn, "other: recent events") || !r.has("topic", statusWarn, "allowed:") {
			t.Errorf("%+v", r)
		}
	})
	t.Run("rights", func(t *testing.T) {
		env, conn := database(t)
		newRoles(t, conn, "cli_poor")
		c := conn.Config()
		poor := []string{fmt.Sprintf("RELAY_POSTGRES_URL=host=%s port=%d dbname=%s user=cli_poor sslmode=disable", c.Host, c.Port, c.Database)}
		r := decode[checkReport](t, runRelay(t, append(poor, kafkaEnv...), "check", "--json").wants(t, exitFound))
		if !r.has("rights", statusFail, "--grant-relay cli_poor") && !r.has("schema", statusFail, "cli_poor") {
			t.Errorf("without anything: %+v", r)
		}
		execute(t, conn, `grant usage on schema outbox to cli_poor; grant select on all tables in schema outbox to cli_poor`)
		r = decode[checkReport](t, runRelay(t, append(poor, kafkaEnv...), "check", "--json").wants(t, exitFound))
		if !r.has("rights", statusFail, "UPDATE on relays") || !r.has("rights", statusFail, "TRUNCATE on events_0") {
			t.Errorf("reading only: %+v", r)
		}
		runRelay(t, env, "migrate", "up", "--grant-relay", "cli_poor").wants(t, exitDone)
		r = decode[checkReport](t, runRelay(t, append(poor, kafkaEnv...), "check", "--json").wants(t, exitDone))
		if !r.has("rights", statusOK, "cli_poor") {
			t.Errorf("granted: %+v", r)
		}
	})
	t.Run("configuration", func(t *testing.T) {
		bad := writeFile(t, "relay.toml", "[lease]\nttl = \"1s\"\n")
		result := runRelay(t, nil, "check", "--json", "--config", bad)
		r := decode[checkReport](t, result.wants(t, exitUsage))
		if !r.has("configuration", statusFail, "lease.ttl") || !r.has("configuration", statusFail, "postgres.url") {
			t.Errorf("%+v", r)
		}
	})
	t.Run("what this version cannot do", func(t *testing.T) {
		env, _ := emptyDatabase(t)
		r := decode[checkReport](t, runRelay(t, append(env, "RELAY_OUTBOX_DELIVERY=exactly_once"), "check", "--json").wants(t, exitUsage))
		if !r.has("configuration", statusFail, "exactly_once") {
			t.Errorf("%+v", r)
		}
	})
}
