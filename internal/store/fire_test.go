package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// fire is what the window test throws at the table: writers that take their xid early, roll back, nest savepoints,
// prepare, and stay open long. Keys are locked by their writer before the event, so the order of each key is known.
type fire struct {
	url     string
	writers int
	keys    int
	length  time.Duration
	longest time.Duration // of one transaction

	mu        sync.Mutex
	committed map[string]struct{} // "key/n" of events whose transaction committed
}

func (f *fire) prepare(t *testing.T) {
	c := plain(t, f.url)
	execute(t, c, "create table counters (key int primary key, n int not null)")
	execute(t, c, "insert into counters select k, 0 from generate_series(1, $1) k", f.keys)
	f.committed = map[string]struct{}{}
}

// run writes until length is over. It ends when the last writer has.
func (f *fire) run(t *testing.T, ctx context.Context) {
	var wg sync.WaitGroup
	until := time.Now().Add(f.length)
	for w := range f.writers {
		wg.Go(func() {
			c, err := pgx.Connect(ctx, f.url)
			if err != nil {
				t.Error(err)
				return
			}
			defer closeSoon(c)
			r := rand.New(rand.NewPCG(7, uint64(w)))
			for i := 0; time.Now().Before(until); i++ {
				if err := f.transaction(ctx, c, r, fmt.Sprintf("w%d-%d", w, i)); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func (f *fire) transaction(ctx context.Context, c *pgx.Conn, r *rand.Rand, name string) error {
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	// A long transaction locks its key last, so that it delays nobody else.
	long := r.IntN(150) == 0
	if r.IntN(3) == 0 || long {
		if _, err := tx.Exec(ctx, "select pg_current_xact_id()"); err != nil {
			return err
		}
	}
	if long {
		sleepFor(ctx, time.Duration(r.Int64N(int64(f.longest))))
	} else if r.IntN(4) == 0 {
		sleepFor(ctx, time.Duration(r.IntN(5000))*time.Microsecond)
	}
	var mine []string
	for range 1 + r.IntN(3) {
		events, err := f.step(ctx, tx, r)
		if err != nil {
			return err
		}
		mine = append(mine, events...)
	}
	switch {
	case r.IntN(10) == 0:
		return tx.Rollback(ctx)
	case r.IntN(20) == 0:
		if _, err := tx.Exec(ctx, fmt.Sprintf("prepare transaction '%s'", name)); err != nil {
			return err
		}
		sleepFor(ctx, time.Duration(r.IntN(30))*time.Millisecond)
		if _, err := c.Exec(ctx, fmt.Sprintf("commit prepared '%s'", name)); err != nil {
			return err
		}
	default:
		if err := tx.Commit(ctx); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range mine {
		f.committed[e] = struct{}{}
	}
	return nil
}

// step locks one key and writes one or two events of it, sometimes inside a savepoint that is rolled back. Keys are
// tried in passing, never waited for, so that no two transactions block each other for ever.
func (f *fire) step(ctx context.Context, tx pgx.Tx, r *rand.Rand) ([]string, error) {
	sp, err := tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	key := 1 + r.IntN(f.keys)
	var locked bool
	if err := sp.QueryRow(ctx, `select exists (select from counters where key = $1 for update skip locked)`, key).Scan(&locked); err != nil {
		return nil, err
	}
	if !locked {
		return nil, sp.Commit(ctx)
	}
	var events []string
	for range 1 + r.IntN(2) {
		var n int
		if err := sp.QueryRow(ctx, "update counters set n = n + 1 where key = $1 returning n", key).Scan(&n); err != nil {
			return nil, err
		}
		_, err := sp.Exec(ctx, "insert into outbox.events (topic, key, payload) values ('t', $1, $2)",
			strconv.Itoa(key), strconv.Itoa(n))
		if err != nil {
			return nil, err
		}
		events = append(events, fmt.Sprintf("%d/%d", key, n))
	}
	if r.IntN(8) == 0 {
		return nil, sp.Rollback(ctx)
	}
	return events, sp.Commit(ctx)
}

func sleepFor(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// tally is what the reading side has settled.
type tally struct {
	seen    map[string]int
	last    map[string]int
	twisted int
	pages   int
}

func (y *tally) settle(rows []string) {
	for _, e := range rows {
		y.seen[e]++
		var key string
		var n int
		for i := range e {
			if e[i] == '/' {
				key = e[:i]
				n, _ = strconv.Atoi(e[i+1:])
			}
		}
		if n <= y.last[key] {
			y.twisted++
		}
		y.last[key] = max(n, y.last[key])
	}
}

// drain reads and settles until finished is true and nothing is left, opening a new session from the cursor row every
// now and then, sometimes with a page that was read and is not settled.
func drain(t *testing.T, url string, finished *atomic.Bool) *tally {
	y := &tally{seen: map[string]int{}, last: map[string]int{}}
	epoch := acquire(t, url)
	r := rand.New(rand.NewPCG(1, 2))
	for {
		s := openSession(t, url, epoch)
		ended := y.session(t, s, r, finished)
		s.close()
		if ended {
			return y
		}
	}
}

func (y *tally) session(t *testing.T, s *testSession, r *rand.Rand, finished *atomic.Bool) (ended bool) {
	cursor, anchors := s.position.Cursor, s.position.Anchors
	s.reader.near = 20 // so that long transactions are far soon
	for until := time.Now().Add(time.Duration(300+r.IntN(1500)) * time.Millisecond); time.Now().Before(until); {
		last := finished.Load()
		var rows []string
		var books Books
		page, err := s.reader.Read(t.Context(), cursor, anchors, 1+r.IntN(400), func(row *Row) error {
			if len(rows) > 0 && r.IntN(500) == 0 {
				return ErrStop
			}
			rows = append(rows, string(row.Key)+"/"+string(row.Payload))
			books.Count(row.Slot, row.Seq, row.Version)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		y.pages++
		cursor = page.Next
		if len(rows) == 0 {
			if last && !cursor.Open {
				return true
			}
			anchor, err := s.reader.Anchor(t.Context()) // as feed does while nothing comes
			if err != nil {
				t.Fatal(err)
			}
			anchors.Add(anchor)
			continue
		}
		if r.IntN(100) == 0 {
			return false // read, not settled: it has to come again
		}
		anchor, err := s.settler.Settle(t.Context(), &Settlement{Cursor: cursor, Books: books,
			Floor: anchors.FloorOf(cursor), Newest: anchors.Newest()})
		if err != nil {
			t.Fatal(err)
		}
		anchors.Add(anchor)
		anchors.Forget(cursor.From.Xmin)
		y.settle(rows)
	}
	return false
}

// TestWindows_UnderFire is protocol §2 against real writers: each committed event exactly once, none of a transaction
// that rolled back, and the events of each locked key in order.
func TestWindows_UnderFire(t *testing.T) {
	url := database(t)
	f := &fire{url: url, writers: 16, keys: 200, length: 30 * time.Second, longest: 10 * time.Second}
	if testing.Short() {
		f.length, f.longest = 4*time.Second, 2*time.Second
	}
	f.prepare(t)
	var finished atomic.Bool
	go func() {
		f.run(t, t.Context())
		finished.Store(true)
	}()
	y := drain(t, url, &finished)

	lost, invented, twice := 0, 0, 0
	for e := range f.committed {
		if y.seen[e] == 0 {
			lost++
		}
	}
	for e, n := range y.seen {
		if _, ok := f.committed[e]; !ok {
			invented++
		}
		if n > 1 {
			twice++
		}
	}
	t.Logf("%d events committed in %v, %d pages; lost %d, invented %d, twice %d, out of order %d",
		len(f.committed), f.length, y.pages, lost, invented, twice, y.twisted)
	if len(f.committed) < 1000 {
		t.Errorf("only %d events were written: too few to prove anything", len(f.committed))
	}
	if lost > 0 {
		whatWasLost(t, url, y)
	}
	if lost+invented+twice+y.twisted > 0 {
		t.Errorf("lost %d, invented %d, twice %d, out of order %d", lost, invented, twice, y.twisted)
	}
	checkBooks(t, url)
}

// whatWasLost logs the rows that were not read: a run of numbers points at an anchor that was too high, all rows of a
// transaction at the windows.
func whatWasLost(t *testing.T, url string, y *tally) {
	t.Helper()
	rows, err := plain(t, url).Query(t.Context(), "select seq, xid::text, key || '/' || payload from outbox.events order by seq")
	if err != nil {
		t.Error(err)
		return
	}
	defer rows.Close()
	for rows.Next() {
		var seq int64
		var xid, event string
		if err := rows.Scan(&seq, &xid, &event); err != nil {
			t.Error(err)
			return
		}
		if y.seen[event] == 0 {
			t.Logf("lost: seq %d, xid %s, event %s", seq, xid, event)
		}
	}
}

// checkBooks compares the books with the table: everything is settled, so they must agree to the row.
func checkBooks(t *testing.T, url string) {
	t.Helper()
	var differ, slots int
	err := plain(t, url).QueryRow(t.Context(), `
		select count(*), count(*) filter (where b.settled_rows is distinct from e.n or b.settled_sum is distinct from e.total
		                                     or b.last_seq is distinct from e.high)
		  from (select slot, count(*) n, sum(seq) total, max(seq) high from outbox.events group by slot) e
		  full join outbox.slots b on b.name = 'main' and b.slot = e.slot`).Scan(&slots, &differ)
	if err != nil {
		t.Fatal(err)
	}
	if differ > 0 || slots == 0 {
		t.Errorf("the books differ from the table in %d of %d slots", differ, slots)
	}
}
