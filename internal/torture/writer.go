package torture

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/torture/journal"
	"github.com/outboxrelay/relay/outbox"
)

// The harness's own tables: the serialised keys with the seq of their last committed event, and the transactions that
// committed.
const (
	harnessSQL = `
		create schema if not exists relay_torture;
		create table relay_torture.keys (key text primary key, seq bigint not null default 0);
		create table relay_torture.witness (tx text primary key)`
	lockSQL    = `select key, seq from relay_torture.keys where key = any($1) order by key for update`
	countSQL   = `update relay_torture.keys k set seq = n.seq from unnest($1::text[], $2::bigint[]) n (key, seq) where k.key = n.key`
	witnessSQL = `insert into relay_torture.witness (tx) values ($1)`
)

// txPatience bounds a transaction: one that waits longer is given up, with its connection.
const txPatience = 40 * time.Second

// mostLate is how far behind its rate a writer may be before it gives that up.
const mostLate = 10 * time.Second

// writer is one client of the application. One goroutine.
type writer struct {
	number  int
	world   *world
	planner *planner
	connect func(ctx context.Context) (*pgx.Conn, error)
	insert  outbox.Writer
	ledger  *journal.Writer
	written *atomic.Int64 // events that were committed for sure

	conn  *pgx.Conn
	count int
}

// run writes until ctx ends; the transaction that is open then is finished.
func (w *writer) run(ctx context.Context) {
	defer w.giveUp()
	for due := time.Now(); ctx.Err() == nil; {
		p := w.planner.next()
		// A long transaction is made up for by those after it, an outage is not.
		if due = due.Add(p.wait); time.Since(due) > mostLate {
			due = time.Now()
		}
		pause(ctx, time.Until(due))
		if w.conn == nil {
			if err := w.open(ctx); err != nil {
				pause(ctx, 200*time.Millisecond)
				continue
			}
		}
		if ctx.Err() != nil {
			return
		}
		txCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), txPatience)
		w.do(txCtx, p)
		cancel()
	}
}

// open connects, and finishes what an earlier connection left prepared: it holds locks.
func (w *writer) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := w.connect(ctx)
	if err != nil {
		return err
	}
	w.conn = conn
	if _, err := conn.Exec(ctx, "set lock_timeout = '3s'"); err != nil {
		w.giveUp()
		return err
	}
	if err := finishPrepared(ctx, conn, w.ledger, fmt.Sprintf("torture-%d-%%", w.number)); err != nil {
		w.giveUp()
		return err
	}
	return nil
}

func (w *writer) giveUp() {
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = w.conn.Close(ctx)
	w.conn = nil
}

// do does one transaction and writes its two lines.
func (w *writer) do(ctx context.Context, p plan) {
	w.count++
	id := fmt.Sprintf("torture-%d-%d", w.number, w.count)
	events, err := w.write(ctx, p, id)
	if err != nil {
		w.giveUp() // rolled back, for COMMIT was not sent
		w.end(id, journal.RolledBack, nil)
		return
	}
	how, err := w.finish(ctx, p, id)
	if err != nil || w.conn.IsClosed() {
		w.giveUp()
	}
	w.end(id, how, events)
}

func (w *writer) end(id, how string, events []made) {
	w.ledger.Append(journal.Ledger{At: journal.Now(), Writer: w.number, Tx: id, What: journal.Outcome, End: how})
	if how == journal.Committed {
		w.written.Add(int64(len(events)))
	}
}

// write does all but the end.
func (w *writer) write(ctx context.Context, p plan, id string) ([]made, error) {
	if _, err := w.conn.Exec(ctx, "begin"); err != nil {
		return nil, err
	}
	if p.kind == longEarly { // the xid is early, the events are late
		if _, err := w.conn.Exec(ctx, "select pg_current_xact_id()"); err != nil {
			return nil, err
		}
		pause(ctx, p.sleep)
	}
	seqs, err := w.lock(ctx, p)
	if err != nil {
		return nil, err
	}
	events := w.make(p, seqs)
	var void []made
	if p.kind == savepoint {
		void = w.void()
	}
	line := journal.Ledger{Writer: w.number, Tx: id, What: journal.Intent, Kind: p.kind}
	for _, e := range append(void, events...) {
		line.Events = append(line.Events, e.line)
	}
	line.At = journal.Now()
	w.ledger.Append(line)
	if err := w.insertAll(ctx, p, events, void); err != nil {
		return nil, err
	}
	if p.kind == longLate {
		pause(ctx, p.sleep)
	}
	return events, w.account(ctx, id, seqs)
}

// lock locks the serialised keys of the plan and gives the seq of each one's last event.
func (w *writer) lock(ctx context.Context, p plan) (map[string]int64, error) {
	var names []string
	for _, c := range p.counts {
		if c.serialised && !c.later {
			names = append(names, c.name)
		}
	}
	seqs := map[string]int64{}
	if len(names) == 0 {
		return seqs, nil
	}
	rows, err := w.conn.Query(ctx, lockSQL, names)
	if err != nil {
		return nil, err
	}
	var name string
	var seq int64
	_, err = pgx.ForEachRow(rows, []any{&name, &seq}, func() error {
		seqs[name] = seq
		return nil
	})
	return seqs, err
}

// make makes the events of the plan, and counts the seqs on.
func (w *writer) make(p plan, seqs map[string]int64) (events []made) {
	random := w.planner.random
	for _, c := range p.counts {
		for range c.events {
			var e made
			switch {
			case c.name == "":
				e = w.world.unkeyed(random)
			case c.serialised && !c.later:
				seqs[c.name]++
				e = w.world.make(random, c.key, seqs[c.name])
			default:
				e = w.world.make(random, c.key, 0)
			}
			if c.later {
				e.later(random)
			}
			e.seal()
			events = append(events, e)
		}
	}
	return events
}

// void are events that are rolled back to a savepoint.
func (w *writer) void() (events []made) {
	for range 1 + w.planner.random.IntN(3) {
		e := w.world.make(w.planner.random, w.planner.key(savepoint), 0)
		e.line.Void = true
		e.seal()
		events = append(events, e)
	}
	return events
}

func (w *writer) insertAll(ctx context.Context, p plan, events, void []made) error {
	if len(void) > 0 {
		if _, err := w.conn.Exec(ctx, "savepoint part"); err != nil {
			return err
		}
		if err := w.insertSome(ctx, void); err != nil {
			return err
		}
		if _, err := w.conn.Exec(ctx, "rollback to part"); err != nil {
			return err
		}
	}
	for i := range p.chunks {
		part := events[i*len(events)/p.chunks : (i+1)*len(events)/p.chunks]
		if err := w.insertSome(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) insertSome(ctx context.Context, events []made) error {
	list := make([]outbox.Event, len(events))
	for i, e := range events {
		list[i] = e.Event
	}
	return w.insert.Insert(ctx, openTx{w.conn}, list...)
}

// openTx is a connection in a transaction that was begun by hand, because it may end by PREPARE TRANSACTION.
type openTx struct{ *pgx.Conn }

// Rollback is never called: see outbox.Tx.
func (t openTx) Rollback(ctx context.Context) error {
	_, err := t.Exec(ctx, "rollback")
	return err
}

// account counts the keys on, and witnesses the transaction, in the transaction.
func (w *writer) account(ctx context.Context, id string, seqs map[string]int64) error {
	var names []string
	var counts []int64
	for name, seq := range seqs {
		names, counts = append(names, name), append(counts, seq)
	}
	if len(names) > 0 {
		if _, err := w.conn.Exec(ctx, countSQL, names, counts); err != nil {
			return err
		}
	}
	_, err := w.conn.Exec(ctx, witnessSQL, id)
	return err
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
