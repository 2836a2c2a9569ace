package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/store"
)

func TestReplay_PublishesAgain(t *testing.T) {
	env, conn, b, _ := delivering(t, 3000)
	execute(t, conn, `update outbox.events set created_at = now() - interval '3 hours' where seq <= 1000`)
	execute(t, conn, `insert into outbox.parked (name, seq, state, id, topic, key, created_at, due_at) select 'main', seq, 'scheduled', id, topic, key, created_at, now() + interval '1 day' from outbox.events where seq = 2000`)
	base := []string{"replay", "--topic", "orders", "--since", "1h"}
	result := decode[replayResult](t, runRelay(t, env, append(base, "--dry-run", "--json")...).wants(t, exitDone))
	if result.Events != 1999 || result.Replay != nil {
		t.Errorf("%+v", result)
	}
	result = decode[replayResult](t, runRelay(t, env, append(base, "--key", "3", "--to", "again", "--yes", "--json")...).wants(t, exitDone))
	want := query(t, conn, `select string_agg(payload::text, ' ' order by seq) from outbox.events where key = '3' and seq > 1000 and seq <> 2000`)
	if got := strings.Join(valuesOf(t, b, "again", int(result.Events)), " "); got != want || result.Replay.State != "done" {
		t.Errorf("replayed %s\nwant %s\n%+v", got, want, result.Replay)
	}
	if out := runRelay(t, env, "replay", "list").wants(t, exitDone); !strings.Contains(out, "orders → again") {
		t.Error(out)
	}
	for args, message := range map[string]string{
		"replay": "say what to do: list, resume, stop", "replay --topic orders --yes": "--since",
		"replay --topic orders --since 1h": "say --yes to replay", "replay --topic orders --since yesterday --yes": "is neither a time",
		"replay --topic orders --since 1h --until 2h --yes": "is not before", "replay resume x": "by its number",
		"replay --since 1h --yes": "say which topic", "replay --topic a --since 1h --yes --rate -1": "negative",
	} {
		if r := runRelay(t, env, strings.Fields(args)...); r.code != exitUsage || !strings.Contains(r.errors, message) {
			t.Errorf("%s: %+v, want %q", args, r, message)
		}
	}
	if r := runRelay(t, env, "replay", "stop", "77"); r.code != exitFailed || !strings.Contains(r.errors, "no replay 77 is running") {
		t.Errorf("%+v", r)
	}
}

// A topic that is not there: the command must not say that the events went, must not park all there are, and must not
// leave them out when it is asked again with the right name.
func TestReplay_SaysWhatCouldNotGo(t *testing.T) {
	env, conn, b, _ := delivering(t, 8000)
	few := []string{"replay", "--topic", "orders", "--since", "1h", "--key", "3", "--yes"}
	keyed := query(t, conn, `select count(*) from outbox.events where key = '3'`)
	r := runRelay(t, env, append(few, "--to", "agian", "--json")...)
	result := decode[replayResult](t, r.out)
	if p := result.Replay; r.code != exitFailed || p.SetAside == 0 || p.SetAside != p.Queued || p.Waiting != 0 || p.State != "stopped" && p.State != "done" {
		t.Errorf("%d %s %+v", r.code, r.errors, p)
	}
	if !strings.Contains(r.errors, "could not go, and are held or dead now: relay parked list says why") {
		t.Error(r.errors)
	}
	result = decode[replayResult](t, runRelay(t, env, append(few, "--to", "again", "--json")...).wants(t, exitDone))
	if p := result.Replay; strconv.FormatInt(p.Queued, 10) != keyed || p.SetAside != 0 {
		t.Errorf("asked again: %+v, want %s events", p, keyed)
	}
	if got := valuesOf(t, b, "again", int(result.Replay.Queued)); strconv.Itoa(len(got)) != keyed {
		t.Errorf("%d records, want %s", len(got), keyed)
	}
	r = runRelay(t, env, "replay", "--topic", "orders", "--since", "1h", "--to", "agian", "--yes")
	if got := query(t, conn, `select concat(state, ' ', queued < 8000) from outbox.replays where replay_no = 3`); r.code != exitFailed || got != "stopped t" {
		t.Errorf("%d %s: %s", r.code, r.errors, got)
	}
	if r = runRelay(t, env, "replay", "resume", "3"); r.code != exitFailed || !strings.Contains(r.errors, "then relay replay resume 3 goes on") {
		t.Errorf("%d %s", r.code, r.errors)
	}
	runRelay(t, env, "parked", "drop", "--topic", "agian", "--yes").wants(t, exitDone)
	if got := query(t, conn, `select count(*) from outbox.parked where state <> 'replay'`); got != "0" {
		t.Errorf("%s are still set aside", got)
	}
}

// The command dies in the middle, at a moment that it did not choose. What it had handed over is published, and a later
// run goes on behind it: each event once, in order.
func TestReplay_GoesOnAfterAKill(t *testing.T) {
	env, conn, b, _ := delivering(t, 4000)
	replayer := store.NewReplayer(conn, store.In("outbox"), "main")
	ended := make(chan int, 1)
	go func() { // the command, at a pace at which it cannot have ended
		var sink bytes.Buffer
		ended <- Main(t.Context(), []string{"replay", "--topic", "orders", "--since", "1h", "--to", "again", "--rate", "500", "--yes"}, env, strings.NewReader(""), &sink, &sink)
	}()
	until(t, "the replay is on its way", func() bool {
		return query(t, conn, `select (coalesce(max(queued), 0) > 100)::text from outbox.replays`) == "true"
	})
	// A kill in a step leaves the step undone, and the request running.
	execute(t, conn, `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'relay replay'`)
	if code := <-ended; code != exitFailed {
		t.Errorf("code %d", code)
	}
	if got := query(t, conn, `select concat(state, ' ', queued < 4000) from outbox.replays`); got != "running t" {
		t.Fatalf("after the kill: %s", got)
	}
	if out := runRelay(t, env, "replay", "resume", "1").wants(t, exitDone); !strings.Contains(out, "4,000 events published again") {
		t.Error(out)
	}
	got := valuesOf(t, b, "again", 4000)
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); n != 4000 || len(got) != 4000 {
		t.Errorf("%d records, %d different ones", len(got), n)
	}
	if _, err := replayer.Step(t.Context(), &store.Replay{No: 1}, 10); err == nil {
		t.Error("a step of a replay that is done")
	}
}

// Ctrl-C stops a replay, and so does another command.
func TestReplay_StopsAndResumes(t *testing.T) {
	env, conn, b, _ := delivering(t, 300)
	ctx, interrupt := context.WithCancel(t.Context())
	var said bytes.Buffer
	ended := make(chan int)
	start := func(args ...string) {
		go func() { ended <- Main(ctx, args, env, strings.NewReader(""), io.Discard, &said) }()
	}
	start("replay", "--topic", "orders", "--since", "1h", "--to", "again", "--rate", "20", "--yes")
	until(t, "it is on its way", func() bool {
		return query(t, conn, `select (coalesce(max(queued), 0) > 3)::text from outbox.replays`) == "true"
	})
	interrupt()
	if code := <-ended; code != exitFailed || !strings.Contains(said.String(), "relay replay resume 1 goes on") {
		t.Errorf("code %d: %s", code, said.String())
	}
	if got := query(t, conn, `select state from outbox.replays`); got != "stopped" {
		t.Error(got)
	}
	ctx = t.Context()
	start("replay", "resume", "1")
	until(t, "it goes on", func() bool { return query(t, conn, `select state from outbox.replays`) == "running" })
	runRelay(t, env, "replay", "stop", "1").wants(t, exitDone)
	if code := <-ended; code != exitFailed {
		t.Errorf("code %d", code)
	}
	execute(t, conn, `update outbox.replays set rate = 0`)
	runRelay(t, env, "replay", "resume", "1").wants(t, exitDone)
	if got := valuesOf(t, b, "again", 300); len(got) != 300 {
		t.Errorf("%d records", len(got))
	}
}

// Two commands carry on with one replay: only one of them may do each step.
func TestReplay_AStepIsDoneOnce(t *testing.T) {
	_, conn, _, halt := delivering(t, 40)
	halt() // what is handed over stays where it can be counted
	topic, since, until := "orders", time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	replayer := store.NewReplayer(conn, store.In("outbox"), "main")
	want := &store.Replay{Topic: &topic, Since: &since, Until: &until}
	counted, err := replayer.Count(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	no, err := replayer.Ask(t.Context(), want, counted, map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	var two [2][]store.Replay
	for i := range two {
		if two[i], err = replayer.List(t.Context(), &no, 1); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := replayer.Step(t.Context(), &two[0][0], 30); n != 30 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := replayer.Step(t.Context(), &two[1][0], 30); !errors.Is(err, store.ErrReplayTaken) {
		t.Errorf("the other one: %d, %v", n, err)
	}
	if n, err := replayer.Step(t.Context(), &two[0][0], 30); n != 10 || err != nil || two[0][0].State != "done" {
		t.Errorf("%d, %v, %s", n, err, two[0][0].State)
	}
	if got := query(t, conn, `select concat(count(*), ' ', count(distinct seq)) from outbox.parked where state = 'replay'`); got != "40 40" {
		t.Errorf("handed over: %s", got)
	}
}

// PostgreSQL ends a killed command's last step, while the next command already looks.
func TestReplay_ResumesBesideTheLastStepOfAKilledCommand(t *testing.T) {
	env, conn, b, _ := delivering(t, 400)
	topic, since, before := "orders", time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	other, err := pgx.ConnectConfig(t.Context(), conn.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	killed := store.NewReplayer(other, store.In("outbox"), "main")
	want := &store.Replay{Topic: &topic, Since: &since, Until: &before}
	counted, err := killed.Count(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	to := "again"
	want.ToTopic = &to
	no, err := killed.Ask(t.Context(), want, counted, map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := killed.List(t.Context(), &no, 1)
	if err != nil {
		t.Fatal(err)
	}
	execute(t, other, "begin")
	if n, err := killed.Step(t.Context(), &found[0], 100); n != 100 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	ended := make(chan result, 1)
	go func() { ended <- runRelay(t, env, "replay", "resume", strconv.FormatInt(no, 10)) }()
	until(t, "the next step waits for the last", func() bool {
		return query(t, conn, `select count(*) from pg_stat_activity where application_name = 'relay replay' and wait_event_type = 'Lock'`) == "1"
	})
	execute(t, other, "commit")
	if r := <-ended; r.code != exitDone || !strings.Contains(r.out, "400 events published again") {
		t.Errorf("%+v", r)
	}
	got := valuesOf(t, b, "again", 400)
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); n != 400 || len(got) != 400 {
		t.Errorf("%d records, %d different ones", len(got), n)
	}
}
