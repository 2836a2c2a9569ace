package store

import (
	"context"
	"fmt"
	"testing"
	"time"
)

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
