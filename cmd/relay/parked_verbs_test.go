package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const parkedStatesSQL = `select coalesce(string_agg(concat(seq, ' ', state), ', ' order by name, seq), 'none') from outbox.parked`

func operations(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return query(t, conn, `select coalesce(string_agg(concat(verb, ' ', events, ' ', who), ', ' order by op_no), 'none') from outbox.operations`)
}

func TestParkedRetry_AndDropByEverySelection(t *testing.T) {
	cases := []struct{ args, seqs string }{ // in the order of seq
		{parkedID(1) + " " + parkedID(3), "1 3"},
		{parkedID(1) + " " + parkedID(1) + " " + parkedID(77), "1"},
		{"--state dead", "1"},
		{"--topic orders --key 42", "1 2"},
		{"--key=", "4"},
		{"--reason no_topic", "3"},
		{"--all", "1 2 3 4 5"},
	}
	for _, c := range cases {
		env, conn := database(t)
		parkSome(t, conn)
		n := len(strings.Fields(c.seqs))
		result := decode[parkedResult](t, runRelay(t, env, append([]string{"parked", "retry", "--yes", "--json"}, strings.Fields(c.args)...)...).wants(t, exitDone))
		if result.Matched != int64(n) || result.Changed != int64(n) || result.DryRun || result.Verb != "retry" || result.Outbox != "main" {
			t.Errorf("retry %s: %+v", c.args, result)
		}
		if dead := query(t, conn, `select count(*)::text from outbox.parked where name = 'main' and state = 'dead'`); (dead == "0") != strings.Contains(c.seqs, "1") {
			t.Errorf("retry %s: %s dead", c.args, dead)
		}
		left := decode[parkedResult](t, runRelay(t, env, append([]string{"parked", "drop", "--yes", "--json"}, strings.Fields(c.args)...)...).wants(t, exitDone))
		if c.args == "--state dead" {
			n = 0 // the retry has made it held
		}
		if left.Matched != int64(n) || left.Changed != int64(n) {
			t.Errorf("drop %s: %+v", c.args, left)
		}
		if got := query(t, conn, `select concat(count(*), ' ', count(*) filter (where name = 'second')) from outbox.parked`); got != fmt.Sprintf("%d 1", 6-n) {
			t.Errorf("drop %s: %s events left", c.args, got)
		}
	}
}

func TestParkedVerbs_DryRunChangesNothing(t *testing.T) {
	env, conn := database(t)
	parkSome(t, conn)
	before := query(t, conn, parkedStatesSQL)
	for _, verb := range []string{"retry", "drop"} {
		out := runRelay(t, env, "parked", verb, "--topic", "orders", "--dry-run").wants(t, exitDone)
		if want := "4 parked events of outbox main:\n           1 behind for orders\n           1 dead for orders\n"; !strings.HasPrefix(out, want) {
			t.Errorf("%s:\n%s", verb, out)
		}
		result := decode[parkedResult](t, runRelay(t, env, "parked", verb, "--all", "--dry-run", "--json").wants(t, exitDone))
		if result.Matched != 5 || result.Changed != 0 || !result.DryRun || len(result.By) != 5 {
			t.Errorf("%s: %+v", verb, result)
		}
		out = runRelay(t, env, "parked", verb, "--dry-run", parkedID(1), parkedID(9), parkedID(77)).wants(t, exitDone)
		if !strings.Contains(out, "2 not parked, of the ids given") {
			t.Errorf("%s:\n%s", verb, out)
		}
	}
	if after := query(t, conn, parkedStatesSQL); after != before || operations(t, conn) != "none" {
		t.Errorf("%s, operations %s", after, operations(t, conn))
	}
}

func TestParkedVerbs_WrongUsage(t *testing.T) {
	env, conn := database(t)
	parkSome(t, conn)
	cases := []struct{ args, want string }{
		{"parked retry --all", "no terminal to ask on: say --yes to retry"},
		{"parked drop " + parkedID(1), "no terminal to ask on: say --yes to drop"},
		{"parked drop --all --json", "no terminal to ask on"},
		{"parked drop --yes", "say which events"},
		{"parked drop --yes --all --topic orders", "exclude each other"},
		{"parked drop --yes --all " + parkedID(1), "exclude each other"},
		{"parked drop --yes --state dead " + parkedID(1), "exclude each other"},
		{"parked drop --yes --state ded", `--state "ded": there are dead, held`},
		{"parked drop --yes 42", `"42" is no event id`},
		{"parked drop --yes " + strings.ReplaceAll(parkedID(1), "-", ""), "is no event id"},
		{"parked list --limit -1", "--limit is negative"},
		{"parked list x", `unknown command "x"`},
		{"parked show", "name one event"},
		{"parked edit " + parkedID(1) + " " + parkedID(2), "name one event"},
		{"parked", "say what to do: drop, edit, list, retry, show"},
	}
	before := query(t, conn, parkedStatesSQL)
	for _, c := range cases {
		if r := runRelay(t, env, strings.Fields(c.args)...); r.code != exitUsage || !strings.Contains(r.errors, c.want) || r.out != "" {
			t.Errorf("%s: %+v, want %q", c.args, r, c.want)
		}
	}
	if after := query(t, conn, parkedStatesSQL); after != before || operations(t, conn) != "none" {
		t.Errorf("%s, operations %s", after, operations(t, conn))
	}
}

func TestParkedVerbs_WhenNothingMatches(t *testing.T) {
	env, conn := database(t)
	out := runRelay(t, env, "parked", "drop", "--yes", "--state", "dead").wants(t, exitDone)
	if out != "nothing is parked in outbox main that matches\n" {
		t.Error(out)
	}
	result := decode[parkedResult](t, runRelay(t, env, "parked", "drop", "--yes", "--all", "--json").wants(t, exitDone))
	if result.Matched != 0 || result.By == nil {
		t.Errorf("%+v", result)
	}
	execute(t, conn, `insert into outbox.parked (name, seq, state, id, topic, created_at) values ('second', 9, 'dead', $1, 'orders', now())`, parkedID(9))
	for _, id := range []string{parkedID(1), parkedID(9)} { // nobody's, another outbox's
		if r := runRelay(t, env, "parked", "retry", "--yes", id); r.code != exitFailed || !strings.Contains(r.errors, "none of the events is parked") {
			t.Errorf("%+v", r)
		}
	}
	if got := operations(t, conn); got != "none" {
		t.Errorf("operations: %s", got)
	}
}

func TestParkedVerbs_TheOperationSaysWho(t *testing.T) {
	env, conn := database(t)
	parkSome(t, conn)
	runRelay(t, append(env, "SUDO_USER=alice"), "parked", "drop", "--yes", "--topic", "orders", "--state", "dead").wants(t, exitDone)
	if got := operations(t, conn); got != "drop 1 postgres" {
		t.Errorf("operations: %s", got)
	}
	var detail struct {
		Via, Run, Host string
		OSUser         string `json:"os_user"`
		SudoUser       string `json:"sudo_user"`
		IDs            []string
		States         map[string]int
		Selection      map[string]any
	}
	if err := json.Unmarshal([]byte(query(t, conn, `select detail::text from outbox.operations`)), &detail); err != nil {
		t.Fatal(err)
	}
	if detail.Via != "relay parked drop" || detail.Run == "" || detail.OSUser == "" || detail.SudoUser != "alice" || detail.States["dead"] != 1 ||
		len(detail.IDs) != 1 || detail.IDs[0] != parkedID(1) ||
		fmt.Sprint(detail.Selection) != "map[relay:main state:dead topic:orders]" {
		t.Errorf("%+v", detail)
	}
}

// Scheduled events that are asked for keep their order: seq decides, whichever batch an event is in.
func TestParkedRetry_BatchesShareOneMoment(t *testing.T) {
	env, conn := database(t)
	execute(t, conn, `insert into outbox.parked (name, seq, state, due_at, id, topic, key, created_at)
		select 'main', 20001 - n, 'scheduled', now() + interval '1 day', gen_random_uuid(), 'orders', 'k', now() from generate_series(1, $1::int) n`, 2*verbBatch+1)
	runRelay(t, env, "parked", "retry", "--all", "--yes").wants(t, exitDone)
	if got := query(t, conn, `select concat(count(*), ' ', count(distinct due_at), ' ', max(due_at) < now()) from outbox.parked`); got != "10001 1 t" {
		t.Errorf("events, moments, all due: %s", got)
	}
	if got := query(t, conn, `select concat(count(*), ' ', sum(events)) from outbox.operations`); got != "3 10001" {
		t.Errorf("operations, events: %s", got)
	}
}

func TestParkedVerbs_AnOlderSchemaNamesTheCure(t *testing.T) {
	env, conn := database(t)
	parkSome(t, conn)
	execute(t, conn, `drop function outbox.parked_retry_where, outbox.parked_retry`)
	for _, args := range []string{"--all", parkedID(1)} {
		if r := runRelay(t, env, "parked", "retry", "--yes", args); r.code != exitFailed || !strings.Contains(r.errors, "run relay migrate up") {
			t.Errorf("%+v", r)
		}
	}
	empty, _ := emptyDatabase(t)
	if r := runRelay(t, empty, "parked", "list"); r.code != exitFailed || !strings.Contains(r.errors, "run relay migrate up") {
		t.Errorf("%+v", r)
	}
}

func TestParkedTable_ExplainsWaitingForOthers(t *testing.T) {
	p := &parkedTable{schema: "outbox"}
	for _, code := range []string{"55P03", "40P01"} {
		if err := p.explain(fmt.Errorf("retry: %w", &pgconn.PgError{Code: code})); !strings.Contains(err.Error(), "pg_stat_activity") {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// Of a drop in several batches one may not go, because somebody else has a row of it, or because a request over HTTP has
// no more time. Those before it are gone, and whoever asked must know.
func TestParkedVerbs_SayHowFarTheyCame(t *testing.T) {
	env, conn := database(t)
	execute(t, conn, `insert into outbox.parked (name, seq, state, id, topic, created_at)
		select 'main', n, 'dead', gen_random_uuid(), 'orders', now() from generate_series(1, 6000) n`)
	other := connected(t, conn.Config().ConnString())
	execute(t, other, `begin; select from outbox.parked where seq = 6000 for update`)
	g := &globals{env: env, stdout: io.Discard, stderr: io.Discard}
	table, err := g.openParked(t.Context(), "drop")
	if err != nil {
		t.Fatal(err)
	}
	defer closePostgres(table.conn)
	execute(t, table.conn, `set lock_timeout = '100ms'`)
	run := &parkedRun{g: g, table: table, verb: dropVerb(), target: parkedTarget{all: true}}
	drop := func() error {
		counted, err := table.count(t.Context(), run.target)
		if err == nil {
			_, err = run.change(t.Context(), counted)
		}
		return table.explain(err)
	}
	if err := drop(); err == nil || !strings.HasPrefix(err.Error(), "drop, after 5,000 of 6,000 events: another transaction") {
		t.Error(err)
	}
	execute(t, other, `rollback`)
	run.deadline = time.Now()
	if err := drop(); err == nil || !strings.HasPrefix(err.Error(), "drop, after 0 of 1,000 events: that is all that one request has time for") {
		t.Error(err)
	}
	run.deadline = time.Now().Add(time.Hour)
	if err := drop(); err != nil {
		t.Error(err)
	}
}
