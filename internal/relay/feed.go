package relay

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/fault"
	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/internal/tracing"
	"github.com/outboxrelay/relay/publisher"
)

const (
	// leastPage and mostPage are what one page query reads at most: a query costs about a millisecond before its first
	// row, in which nothing flows, but an open one pins xmin. So pages grow as long as they are read within quickPage.
	leastPage = 5000
	mostPage  = 20_000
	quickPage = 100 * time.Millisecond
	// patience is how long a row may wait for room while its query is open: an open query pins xmin.
	patience = time.Second
	// forEver is longer than any session.
	forEver = 1000 * time.Hour
)

// feed reads windows and sends their rows until stop ends, then returns nil.
type feed struct {
	reader   *store.Reader
	producer publisher.Producer
	ledger   *ledger
	judge    *judge
	maker    *recordMaker
	memory   *memory
	waiter   *waiter
	trust    *trust
	anchors  *store.Anchors
	fresh    <-chan store.Anchor // from settle
	cursor   store.Cursor
	budget   int64         // bytes in flight
	most     int64         // rows in flight
	hold     time.Duration // how much trust must be left when a record is handed over
	txn      *transaction  // nil with at_least_once
	batch    *batch        // being filled
	limit    int           // rows of the next page
	crowded  bool          // the last page was given up because nothing found room
	// redelivered counts rows that are sent again though Kafka may have them.
	redelivered *atomic.Int64
	trace       *tracing.Tracer // nil without tracing
	// anchored is when the newest anchor was taken, and anchorEvery how old it may become while a transaction is open.
	anchored    time.Time
	anchorEvery time.Duration
	// unexplained says that something has happened in the cluster of which no row was found.
	unexplained bool
	counted     time.Time // when the sequence was checked last
}

func (f *feed) run(ctx, stop context.Context) error {
	f.batch, f.limit = f.ledger.begin(), leastPage
	for ctx.Err() == nil && stop.Err() == nil {
		asked := time.Now()
		f.takeAnchors()
		if err := f.watchSequence(ctx); err != nil {
			return err
		}
		if still, err := f.still(ctx); err != nil {
			return err
		} else if still {
			if err := f.rest(ctx); err != nil {
				return err
			}
			if err := f.waiter.wait(ctx, stop, asked); err != nil {
				return err
			}
			continue
		}
		f.judge.nextPage()
		if err := fault.At("page"); err != nil {
			return err
		}
		page, err := f.reader.Read(ctx, f.cursor, f.anchors, f.limit, func(row *store.Row) error {
			return f.row(ctx, stop, row)
		})
		if err != nil {
			return err
		}
		f.cursor, f.limit = page.Next, nextLimit(f.limit, page.Next.Open, time.Since(asked))
		if !f.batch.empty() {
			f.closeBatch(f.cursor)
		}
		if !f.cursor.Open { // nothing more has come until now
			f.producer.Flush()
		}
		if f.crowded || !f.cursor.Open {
			if err := f.commit(ctx); err != nil {
				return err
			}
		}
		if f.crowded {
			f.waitForRoom(ctx, stop)
		}
		if page.Rows > 0 || f.cursor.Open {
			if err := f.waiter.wake(ctx); err != nil {
				return err
			}
		}
		if f.cursor.Open {
			continue
		}
		if page.Rows == 0 {
			f.unexplained = f.unexplained || !page.Quiet
			if err := f.watchOpen(ctx); err != nil {
				return err
			}
			if err := f.rest(ctx); err != nil {
				return err
			}
		}
		if err := f.waiter.wait(ctx, stop, asked); err != nil {
			return err
		}
	}
	return f.finish(ctx)
}

// nextLimit is how many rows the next page may have, after one that took so long. The first of a window is a small one:
// nobody knows yet how large its rows are.
func nextLimit(limit int, open bool, took time.Duration) int {
	switch {
	case !open:
		return leastPage
	case took < quickPage:
		return min(2*limit, mostPage)
	}
	return max(limit/2, leastPage)
}

// commit ends the open transaction, if there is one.
func (f *feed) commit(ctx context.Context) error {
	if f.txn == nil {
		return nil
	}
	return f.txn.commit(ctx)
}

// rest settles what the last transaction left to the next one, when none comes.
func (f *feed) rest(ctx context.Context) error {
	if f.txn == nil {
		return nil
	}
	return f.txn.rest(ctx)
}

// finish is the end of a feed that was stopped, and not cut.
func (f *feed) finish(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil || f.txn == nil {
		return err
	}
	err := f.txn.commit(ctx)
	if err == nil || errors.Is(err, errRecycle) {
		err = f.txn.settle(ctx)
	}
	return err
}

// still is the cheap look of a relay at rest. While events flow it would be a round trip too many.
func (f *feed) still(ctx context.Context) (bool, error) {
	if !f.waiter.resting() || f.cursor.Open {
		return false, nil
	}
	return f.reader.Still(ctx)
}

// row does what is to be done with one row: send it, park it, or count it as sent by an earlier session.
func (f *feed) row(ctx, stop context.Context, row *store.Row) error {
	size := row.Size()
	if !f.room(size) && !f.makeRoom(ctx, stop, patience, size) {
		f.crowded = true
		return store.ErrStop
	}
	if stop.Err() != nil {
		return store.ErrStop
	}
	if err := f.dispatch(ctx, row, size); err != nil {
		return err
	}
	f.batch.settled.Books.Count(row.Slot, row.Seq, row.Version)
	f.batch.bytes += size
	enough := f.txn != nil && f.txn.full()
	if enough || f.batch.full() {
		f.closeBatch(f.reader.Behind(row))
	}
	if enough {
		return f.commit(ctx)
	}
	return nil
}

func (f *feed) dispatch(ctx context.Context, row *store.Row, size int64) error {
	key := rowKey{row.Seq, row.ID}
	if f.memory.recall(key) {
		f.batch.tickets = append(f.batch.tickets, ticket{batch: f.batch, key: key, fate: acked})
		return nil
	}
	topic, err := f.judge.topic(ctx, row.Topic)
	if err != nil {
		return err
	}
	if v := f.judge.early(row, topic); v != send {
		f.park(row, topic.name, v)
		return nil
	}
	record, err := f.maker.make(row, topic.name)
	if err != nil {
		f.park(row, topic.name, verdict{state: Dead, reason: "invalid_headers: " + err.Error()})
		return nil
	}
	v, err := f.judge.late(ctx, record, topic)
	if err != nil {
		return err
	}
	if v != send {
		f.park(row, topic.name, v)
		return nil
	}
	if f.memory.suspect(key) {
		return f.sendAlone(ctx, row, record, topic, size)
	}
	return f.send(ctx, row, record, topic, size, false)
}

func (f *feed) park(row *store.Row, topic string, v verdict) {
	if s := f.judge.aside.parked(topic, row.Key, v); s != nil {
		f.batch.standings = append(f.batch.standings, s)
	}
	if f.trace != nil {
		f.traceParked(row, topic, v)
	}
	f.ledger.park(f.batch, row.Size())
	f.batch.settled.Parked = append(f.batch.settled.Parked,
		store.Parked{Slot: row.Slot, Seq: row.Seq, State: v.state, Reason: v.reason, Due: v.due})
}

// send hands a record to the producer, or parks its row when the producer says that this cannot be.
func (f *feed) send(ctx context.Context, row *store.Row, record *publisher.Record, topic *topicState, size int64, alone bool) error {
	if err := f.trust.await(ctx, f.hold); err != nil {
		return err
	}
	if f.txn != nil {
		if err := f.txn.begin(ctx); err != nil {
			return err
		}
	}
	if err := fault.At("send"); err != nil {
		return err
	}
	t := f.ledger.issue(f.batch, rowKey{row.Seq, row.ID}, size, topic)
	t.alone = alone
	again := f.note(t, row)
	if f.trace != nil {
		f.traceSent(t, row, record, again)
	}
	err := f.producer.Send(ctx, record, t)
	if err == nil {
		if f.txn != nil {
			f.txn.count(size)
		}
		return nil
	}
	f.ledger.withdraw(t)
	switch {
	case publisher.TopicTrouble(err):
		topic.trouble = publisher.Reason(err)
		f.park(row, topic.name, verdict{state: Held, reason: topic.trouble})
		return nil
	case publisher.Rejected(err):
		f.park(row, topic.name, verdict{state: Dead, reason: publisher.Reason(err)})
		return nil
	}
	return fmt.Errorf("send to topic %q: %w", topic.name, publisher.Classed(err))
}

// sendAlone sends a record that was refused together with others, with nothing else in flight. If it is refused
// again, the report ends the session and condemns the row.
func (f *feed) sendAlone(ctx context.Context, row *store.Row, record *publisher.Record, topic *topicState, size int64) error {
	if !f.ledger.await(ctx, ctx, forEver, 0, 0) {
		return context.Cause(ctx)
	}
	if err := f.send(ctx, row, record, topic, size, true); err != nil {
		return err
	}
	if !f.ledger.await(ctx, ctx, forEver, 0, 0) {
		return context.Cause(ctx)
	}
	if ctx.Err() == nil {
		delete(f.memory.suspects, rowKey{row.Seq, row.ID})
	}
	return context.Cause(ctx)
}

// closeBatch queues the batch for settling with the cursor at c, and begins the next.
func (f *feed) closeBatch(c store.Cursor) {
	b := f.batch
	b.settled.Cursor = c
	b.settled.Floor = f.anchors.FloorOf(c)
	b.settled.Newest = f.anchors.Newest()
	f.ledger.close(b)
	f.batch = f.ledger.begin()
}

// room says whether a row of this size may be in flight besides what is. One row always may.
func (f *feed) room(size int64) bool {
	if f.ledger.parked.Load() >= maxParkedAtOnce {
		return false
	}
	rows := f.ledger.rows.Load()
	return rows == 0 || (rows < f.most && f.ledger.bytes.Load()+size <= f.budget)
}

// makeRoom waits until a row of this size finds room, and some more, so that what follows goes in one run.
func (f *feed) makeRoom(ctx, stop context.Context, limit time.Duration, size int64) bool {
	bytes := min(f.budget*3/4, f.budget-size)
	if bytes < 0 {
		return f.ledger.await(ctx, stop, limit, 0, 0)
	}
	return f.ledger.await(ctx, stop, limit, f.most*3/4, bytes)
}

// waitForRoom waits without an open query, as long as it takes.
func (f *feed) waitForRoom(ctx, stop context.Context) {
	f.ledger.await(ctx, stop, forEver, f.most/2, f.budget/2)
	f.crowded = false
}
