package store

import (
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

// leave has writers be far from the slot, whatever time it is.
func (r *ledgerRig) leave(t *testing.T, slot int) {
	t.Helper()
	execute(t, r.c, `
		update outbox.ring set period_seconds = (
			select p from generate_series(10000, 20000) p, (select extract(epoch from now())::bigint as now) clock
			 where now / p % 8 = ($1::int + 4) % 8 and now % p between p / 4 and p * 3 / 4 limit 1)`, slot)
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
			r.leave(t, 2)
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
