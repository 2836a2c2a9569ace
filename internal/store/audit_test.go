package store

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// ledgerRig is an outbox whose events are settled, and an auditor.
type ledgerRig struct {
	url     string
	c       *pgx.Conn
	auditor *Auditor
	session *testSession
}

// settledOutbox has n events in slot 2, two days old, all settled.
func settledOutbox(t *testing.T, n int) *ledgerRig {
	t.Helper()
	url := database(t)
	r := &ledgerRig{url: url, c: plain(t, url)}
	r.insert(t, 2, n)
	r.session = openSession(t, url, acquire(t, url))
	// A row that is made new again by hand has a seq from before every anchor, and only a reader without any finds it.
	r.session.position.Anchors = NewAnchors(0, Anchor{})
	r.settle(t)
	r.auditor = auditor(t, url)
	return r
}

func auditor(t *testing.T, url string) *Auditor {
	t.Helper()
	a, err := NewAuditor(t.Context(), connect(t, url), In(schema))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// insert adds events of another time, some of them written in a savepoint, where xmin is not the transaction's own xid.
func (r *ledgerRig) insert(t *testing.T, slot, n int) {
	t.Helper()
	const one = `insert into outbox.events (slot, topic, payload, created_at) select %d, 't', to_json(n), now() - interval '2 days' from generate_series(1, %d) n`
	execute(t, r.c, fmt.Sprintf(`begin; `+one+`; savepoint s; `+one+`; release s; commit`, slot, n-n/4, slot, n/4))
}

func (r *ledgerRig) settle(t *testing.T) {
	t.Helper()
	for {
		_, next, books := readAll(t, r.session, r.session.position.Cursor)
		if _, err := r.session.settler.Settle(t.Context(), &Settlement{Cursor: next, Books: books}); err != nil {
			t.Fatal(err)
		}
		r.session.position.Cursor = next
		if !next.Open {
			return
		}
	}
}

func (r *ledgerRig) audit(t *testing.T) []Difference {
	t.Helper()
	found, err := r.auditor.Audit(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (r *ledgerRig) empty(t *testing.T, slot int16, keep time.Duration) Emptied {
	t.Helper()
	e, err := r.auditor.Empty(t.Context(), slot, keep)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func scan[T any](t *testing.T, c *pgx.Conn, sql string, args ...any) (v T) {
	t.Helper()
	if err := c.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// What people do to tables by hand: each is found, stops the slot from being emptied, and is repaired.
var corruptions = []struct {
	name, sql               string
	missing, extra, altered int64
	exact                   []int64
	again                   int64
}{
	{"a row deleted", `delete from outbox.events where seq = 17`, 1, 0, 0, []int64{17}, 0},
	{"rows deleted", `delete from outbox.events where seq in (3, 17, 18)`, 3, 0, 0, nil, 37},
	{"a row inserted into the past", `insert into outbox.events (xid, seq, slot, topic, created_at) values ('3', 9000, 2, 't', now() - interval '2 days')`,
		0, 1, 0, []int64{9000}, 1},
	{"a row that nobody has settled", `update outbox.slots set settled_rows = settled_rows - 1, settled_sum = settled_sum - 17`, 0, 1, 0, []int64{17}, 1},
	{"a payload edited", `update outbox.events set payload = '"edited"' where seq = 17`, 0, 0, 1, nil, 40},
	{"a seq edited", `update outbox.events set seq = 9000 where seq = 17`, 1, 1, 0, nil, 40},
	{"one replaced", `with gone as (delete from outbox.events where seq = 17 returning *) insert into outbox.events select * from gone`, 0, 0, 1, nil, 40},
	{"a row made new again", `update outbox.events set xid = pg_current_xact_id() where seq = 17`, 1, 0, 0, []int64{17}, 0},
}

func TestAudit_FindsWhatWasDoneByHand(t *testing.T) {
	for _, c := range corruptions {
		t.Run(c.name, func(t *testing.T) {
			r := settledOutbox(t, 40)
			if found := r.audit(t); len(found) > 0 {
				t.Fatalf("before: %+v", found)
			}
			execute(t, r.c, c.sql)
			found := r.audit(t)
			if len(found) != 1 {
				t.Fatalf("found %+v", found)
			}
			d := found[0]
			if d.Slot != 2 || d.Missing != c.missing || d.Extra != c.extra || d.Altered != c.altered || !slices.Equal(d.Exact, c.exact) {
				t.Errorf("found %+v", d)
			}
			if d.FromSeq > 17 && c.exact == nil || d.ToSeq < 17 {
				t.Errorf("seqs %d to %d", d.FromSeq, d.ToSeq)
			}
			if e := r.empty(t, 2, time.Hour); e.Kept != KeptDifference && e.Kept != KeptPending {
				t.Errorf("emptied: %+v", e)
			}
			fixed, err := r.auditor.Repair(t.Context(), "main", 2, false, map[string]string{"why": "test"})
			if err != nil || fixed == nil || fixed.Again != c.again || (fixed.Replay > 0) != (c.again > 0) {
				t.Fatalf("repaired %+v, %v", fixed, err)
			}
			if found := r.audit(t); len(found) > 0 {
				t.Errorf("after the repair: %+v", found)
			}
			if got := scan[string](t, r.c, `select concat(verb, ' ', detail->>'why', ' ', detail->'difference'->>'slot') from outbox.operations`); got != "repair test 2" {
				t.Errorf("noted: %s", got)
			}
			if again, err := r.auditor.Repair(t.Context(), "main", 2, false, nil); again != nil || err != nil {
				t.Errorf("repaired twice: %+v, %v", again, err)
			}
			r.settle(t) // what was made new again
			execute(t, r.c, `update outbox.replays set state = 'done'`)
			if e := r.empty(t, 2, time.Hour); e.Kept != KeptEmpty || e.Rows < 1 {
				t.Errorf("after the repair: %+v", e)
			}
		})
	}
}

// An edit is named exactly where nobody writes in savepoints.
func TestAudit_NamesTheEditedRow(t *testing.T) {
	url := database(t)
	r := &ledgerRig{url: url, c: plain(t, url)}
	execute(t, r.c, `insert into outbox.events (topic, payload) select 't', to_json(n) from generate_series(1, 30) n`)
	r.session = openSession(t, url, acquire(t, url))
	r.settle(t)
	r.auditor = auditor(t, url)
	execute(t, r.c, `update outbox.events set payload = '0' where seq in (5, 9)`)
	found := r.audit(t)
	if len(found) != 1 || !slices.Equal(found[0].Exact, []int64{5, 9}) || found[0].Altered != 2 || found[0].FromSeq != 5 || found[0].ToSeq != 9 {
		t.Errorf("%+v", found)
	}
	execute(t, r.c, `vacuum freeze outbox.events`)
	if again := r.audit(t); len(again) != 1 || !slices.Equal(again[0].Exact, []int64{5, 9}) {
		t.Errorf("after freezing: %+v", again)
	}
	if err := r.auditor.Record(t.Context(), "main", found); err != nil {
		t.Fatal(err)
	}
	if n := scan[int](t, r.c, `select count(*) from outbox.slots where difference is not null`); n != 1 {
		t.Errorf("%d slots show the difference", n)
	}
}

// Freezing, and rewriting the table, keep what the books are compared with.
func TestAudit_IsNotTroubledByVacuum(t *testing.T) {
	r := settledOutbox(t, 40)
	execute(t, r.c, `vacuum (freeze) outbox.events`)
	execute(t, r.c, `vacuum full outbox.events_2`)
	if found := r.audit(t); len(found) > 0 {
		t.Errorf("%+v", found)
	}
}

// Rows that an older relay has settled have no version in the books: count and sum are compared all the same.
func TestAudit_WithoutVersionsComparesTheRest(t *testing.T) {
	r := settledOutbox(t, 40)
	execute(t, r.c, `update outbox.slots set version_rows = 0, version_sum = 0`)
	execute(t, r.c, `update outbox.events set payload = '0' where seq = 5`)
	if found := r.audit(t); len(found) > 0 {
		t.Errorf("%+v", found)
	}
	execute(t, r.c, `delete from outbox.events where seq = 5`)
	if found := r.audit(t); len(found) != 1 || found[0].Missing != 1 {
		t.Errorf("%+v", found)
	}
}

func TestEmpty_KeepsWhatIsStillNeeded(t *testing.T) {
	r := settledOutbox(t, 40)
	now := scan[int16](t, r.c, `select (extract(epoch from now())::bigint / 14400 % 8)::smallint`)
	for _, slot := range []int16{now, (now + 1) % 8} {
		r.insert(t, int(slot), 1)
	}
	r.settle(t)
	want := func(slot int16, keep time.Duration, why string) {
		t.Helper()
		if e := r.empty(t, slot, keep); e.Kept != why {
			t.Errorf("slot %d: %+v, want %q", slot, e, why)
		}
	}
	if now != 2 && (now+1)%8 != 2 {
		want(2, 72*time.Hour, KeptYoung)
	}
	want(now, time.Hour, KeptInUse)
	want((now+1)%8, time.Hour, KeptInUse)
	free := (now + 3) % 8
	execute(t, r.c, `truncate outbox.events`)
	execute(t, r.c, `delete from outbox.slots`)
	r.insert(t, int(free), 8)
	want(free, time.Hour, KeptPending)
	r.settle(t)
	execute(t, r.c, `insert into outbox.relays (name) values ('second')`)
	if e := r.empty(t, free, time.Hour); e.Kept != KeptPending || e.Holds != "second" {
		t.Errorf("another name has not settled them: %+v", e)
	}
	execute(t, r.c, `update outbox.relays set keep = '30 days' where name = 'second'`)
	want(free, time.Hour, KeptYoung)
	execute(t, r.c, `delete from outbox.relays where name = 'second'`)

	locker := plain(t, r.url)
	execute(t, locker, fmt.Sprintf(`begin; insert into outbox.events (slot, topic) values (%d, 't')`, free))
	want(free, time.Hour, KeptBusy)
	execute(t, locker, `rollback`)
	execute(t, locker, fmt.Sprintf(`begin; lock table outbox.events_%d in access share mode`, free))
	want(free, time.Hour, KeptBusy)
	execute(t, locker, `rollback`)

	execute(t, r.c, `insert into outbox.replays (name, window_from, cursor_seq, to_seq, events) select name, window_from, 0, 1e9, 1 from outbox.relays`)
	want(free, time.Hour, KeptReplay)
	execute(t, r.c, `update outbox.replays set touched_at = now() - interval '25 hours'`)
	if e := r.empty(t, free, time.Hour); e.Kept != KeptEmpty || e.Rows != 8 {
		t.Errorf("%+v", e)
	}
	if n := scan[int](t, r.c, `select count(*) from outbox.events`); n != 0 {
		t.Errorf("%d events are left", n)
	}
	if found := r.audit(t); len(found) > 0 {
		t.Errorf("after emptying: %+v", found)
	}
	want(free, time.Hour, KeptEmpty)
}

// With exactly_once a batch is prepared before Kafka has it: its rows are not settled.
func TestEmpty_KeepsWhatACandidateIsAbout(t *testing.T) {
	r := settledOutbox(t, 4)
	slot := scan[int16](t, r.c, `select ((extract(epoch from now())::bigint / 14400 + 4) % 8)::smallint`)
	r.insert(t, int(slot), 8)
	_, next, books := readAll(t, r.session, r.session.position.Cursor)
	if _, err := r.session.settler.Prepare(t.Context(), nil, &Candidate{Batch: 1, Settlement: Settlement{Cursor: next, Books: books}}); err != nil {
		t.Fatal(err)
	}
	if e := r.empty(t, slot, time.Hour); e.Kept != KeptPending {
		t.Errorf("%+v", e)
	}
}

// The ring came round while the relay was away: slots hold the rows of several rounds.
func TestEmpty_AfterALongAbsence(t *testing.T) {
	url := database(t)
	r := &ledgerRig{url: url, c: plain(t, url)}
	execute(t, r.c, `insert into outbox.events (slot, topic, created_at)
		select (extract(epoch from at)::bigint / 14400 % 8)::smallint, 't', at from generate_series(now() - interval '8 days', now(), interval '10 minutes') at`)
	r.session = openSession(t, url, acquire(t, url))
	r.auditor = auditor(t, url)
	for slot := range int16(RingSlots) {
		if e := r.empty(t, slot, 24*time.Hour); e.Kept == KeptEmpty {
			t.Errorf("emptied before it was delivered: %+v", e)
		}
	}
	r.settle(t)
	period, err := r.auditor.FitRing(t.Context(), "main", 24*time.Hour)
	if err != nil || period != 288*time.Minute {
		t.Fatalf("period %v, %v", period, err)
	}
	// A day later nothing new was written, and all but the two slots that writers are in, or near, can go.
	execute(t, r.c, `update outbox.events set created_at = created_at - interval '2 days'`)
	execute(t, r.c, `update outbox.slots s set version_sum = (select sum(xmin::text::bigint) from outbox.events e where e.slot = s.slot)`)
	gone := 0
	for slot := range int16(RingSlots) {
		if e := r.empty(t, slot, 24*time.Hour); e.Kept == KeptEmpty && e.Rows > 0 {
			gone++
		}
	}
	if gone != 6 {
		t.Errorf("%d slots were emptied", gone)
	}
	if found := r.audit(t); len(found) > 0 {
		t.Errorf("%+v", found)
	}
}

// Writers insert while the ring's period changes: none fails, and afterwards the slot follows the new period.
func TestFitRing_ChangesThePeriodUnderWriters(t *testing.T) {
	r := settledOutbox(t, 4)
	execute(t, r.c, `insert into outbox.relays (name) values ('second')`)
	ctx, stop := context.WithCancel(t.Context())
	failed := make(chan error, 3)
	for range 3 {
		c := plain(t, r.url)
		go func() {
			for ctx.Err() == nil {
				if _, err := c.Exec(t.Context(), `insert into outbox.events (topic) values ('t')`); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for _, f := range []struct {
		name   string
		keep   time.Duration
		period time.Duration
	}{{"main", 24 * time.Hour, 288 * time.Minute}, {"second", 50 * time.Hour, 600 * time.Minute}, {"main", time.Hour, 600 * time.Minute},
		{"second", 0, 12 * time.Minute}, {"main", 0, time.Minute}} {
		period, err := r.auditor.FitRing(t.Context(), f.name, f.keep)
		if err != nil || period != f.period {
			t.Errorf("%s keeps %v: period %v, %v", f.name, f.keep, period, err)
		}
		got := scan[bool](t, r.c, fmt.Sprintf(`insert into outbox.events (topic) values ('t')
			returning slot = extract(epoch from now())::bigint / %d %% 8`, int(f.period.Seconds())))
		if !got {
			t.Errorf("%v: the slot does not follow", f)
		}
	}
	stop()
	for range 3 {
		if err := <-failed; err != nil {
			t.Errorf("a writer: %v", err)
		}
	}
}

func TestPrune_IsBounded(t *testing.T) {
	r := settledOutbox(t, 4)
	execute(t, r.c, `insert into outbox.inbox select 'c', n::text, now() - interval '2 days' from generate_series(1, 12000) n; insert into outbox.inbox values ('c', 'new')`)
	if n, err := r.auditor.PruneInbox(t.Context(), 24*time.Hour, 2); n != 10000 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := r.auditor.PruneInbox(t.Context(), 24*time.Hour, 2); n != 2000 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	execute(t, r.c, `insert into outbox.operations (at, verb, events) select now() - interval '400 days', 'drop', 1 from generate_series(1, 1200); insert into outbox.operations (verb, events) values ('drop', 1)`)
	for _, want := range []int64{1000, 200, 0} {
		if n, err := r.auditor.PruneOperations(t.Context()); n != want || err != nil {
			t.Errorf("%d operations, %v", n, err)
		}
	}
}
