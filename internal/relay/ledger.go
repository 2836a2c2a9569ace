package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/internal/tracing"
)

// A batch is closed at this many rows or bytes, or where a page ends: the smallest step of the cursor.
const (
	batchRows  = 1000
	batchBytes = 4 << 20
)

// Parking costs PostgreSQL far more than a settle does otherwise (five indexes a row, and the row copied). One statement
// parks at most about this much, or it would not answer in time; feed waits when so much is judged and not yet in the
// table. It is counted in rows, and each parkedBytes of a row count as one more.
const (
	parkedASettle   = 2000
	maxParkedAtOnce = 5000
	parkedBytes     = 8 << 10
)

// rowKey names a row beyond doubt: a promoted standby may hand out a seq again, for an event with another id.
type rowKey struct {
	seq int64
	id  [16]byte
}

// ticket is what the producer carries with a record and gives back with its report.
type ticket struct {
	batch *batch
	key   rowKey
	size  int64
	topic *topicState
	alone bool // sent with nothing else in flight
	fate  fate // written by the report goroutine, read after the producer is closed
	// unwritten says of a failed one that Kafka surely does not have it; written and read like fate.
	unwritten bool
	// span is the place of its span in the batch, counted from 1; 0 for none. Here it fills a gap: a ticket is 64 bytes.
	span    uint16
	created int64 // microseconds of Unix time
}

type fate uint8

const (
	waiting fate = iota
	acked
	rejected // Kafka would not take the record, or the batch it was in
	failed
)

// batch is a run of rows in the order of reading. Feed fills it, reports count it down, settle takes it away.
type batch struct {
	// open is the number of reports awaited, plus one while the batch is being filled.
	open    atomic.Int64
	tickets []ticket // never grows beyond its capacity: reports hold pointers into it
	bytes   int64
	parked  int64 // what its parked rows count
	settled store.Settlement
	// spans are of sampled events; nil without tracing. Its length never changes, for reports look into it.
	spans  []tracing.Span
	traced int // how many are used
	// standings are what the parked events belong to, to be told when they are in the table.
	standings []*standing
}

func (b *batch) reset() {
	b.open.Store(1)
	b.tickets = b.tickets[:0]
	b.bytes, b.parked, b.traced = 0, 0, 0
	b.standings = b.standings[:0]
	parked := b.settled.Parked[:0]
	b.settled = store.Settlement{Parked: parked}
}

func (b *batch) full() bool {
	return len(b.tickets)+len(b.settled.Parked) >= batchRows || b.bytes >= batchBytes
}

func (b *batch) empty() bool { return b.settled.Books.Rows() == 0 }

// ledger is what is between reading and settling. One goroutine feeds it, one reports, one settles.
type ledger struct {
	mu    sync.Mutex
	queue []*batch // closed batches, in the order of reading
	free  []*batch

	rows, bytes atomic.Int64  // in flight
	parked      atomic.Int64  // what is judged to be parked and not settled yet counts
	freed       chan struct{} // what is in flight fell to what feed waits for
	// wantRows and wantBytes are what feed waits for; -1 while it does not wait. A wake-up for each ack would cost more
	// than the ack, and make the client's batches small.
	wantRows, wantBytes atomic.Int64
	flush               func()        // has the producer hurry; set before the first await
	done                chan struct{} // a batch may be complete
	lastAck             atomic.Int64  // Unix nanoseconds, 0 = never
	spans               int           // how many a batch has room for
}

func newLedger() *ledger {
	l := &ledger{freed: make(chan struct{}, 1), done: make(chan struct{}, 1)}
	l.wantRows.Store(-1)
	return l
}

// begin gives an empty batch to fill.
func (l *ledger) begin() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b *batch
	if n := len(l.free); n > 0 {
		b, l.free = l.free[n-1], l.free[:n-1]
	} else {
		b = &batch{tickets: make([]ticket, 0, batchRows)}
		if l.spans > 0 {
			b.spans = make([]tracing.Span, l.spans)
		}
	}
	b.reset()
	return b
}

// issue makes the ticket of a row that is about to be sent, and counts it as in flight.
func (l *ledger) issue(b *batch, key rowKey, size int64, topic *topicState) *ticket {
	b.tickets = append(b.tickets, ticket{batch: b, key: key, size: size, topic: topic})
	b.open.Add(1)
	l.rows.Add(1)
	l.bytes.Add(size)
	return &b.tickets[len(b.tickets)-1]
}

// withdraw takes back the newest ticket: its row was not sent.
func (l *ledger) withdraw(t *ticket) {
	b := t.batch
	size := t.size
	if t.span > 0 {
		b.traced--
	}
	b.tickets = b.tickets[:len(b.tickets)-1]
	b.open.Add(-1)
	l.rows.Add(-1)
	l.bytes.Add(-size)
}

// close says where the cursor stands behind the batch, and queues it for settling.
func (l *ledger) close(b *batch) {
	l.mu.Lock()
	l.queue = append(l.queue, b)
	l.mu.Unlock()
	if b.open.Add(-1) == 0 || mutant.On("settle-before-ack") {
		signal(l.done)
	}
}

// ack counts a report that proves the record stored. Called by the report goroutine: it must not block.
func (l *ledger) ack(t *ticket) {
	t.fate = acked
	l.leave(t)
	if t.batch.open.Add(-1) == 0 || mutant.On("highest-ack") {
		l.lastAck.Store(time.Now().UnixNano())
		signal(l.done)
	}
}

// fail counts a report that proves nothing. The batch stays open for good: the session is over.
func (l *ledger) fail(t *ticket, f fate) {
	t.fate = f
	l.leave(t)
}

func (l *ledger) leave(t *ticket) {
	bytes, rows := l.bytes.Add(-t.size), l.rows.Add(-1)
	if want := l.wantRows.Load(); want >= 0 && rows <= want && bytes <= l.wantBytes.Load() {
		signal(l.freed)
	}
}

// park counts a row that was judged to be parked.
func (l *ledger) park(b *batch, size int64) {
	count := 1 + size/parkedBytes
	b.parked += count
	l.parked.Add(count)
}

// parkedAway counts down what is in the table.
func (l *ledger) parkedAway(count int64) {
	if l.parked.Add(-count); count > 0 {
		signal(l.freed)
	}
}

// fallen says whether at most this much is in flight, and parking keeps up.
func (l *ledger) fallen(rows, bytes int64) bool {
	return l.rows.Load() <= rows && l.bytes.Load() <= bytes && l.parked.Load() < maxParkedAtOnce
}

// await waits until at most this much is in flight, for limit at most, and gives up when ctx or stop ends. It says
// whether it came true. For feed only.
func (l *ledger) await(ctx, stop context.Context, limit time.Duration, rows, bytes int64) bool {
	if l.fallen(rows, bytes) {
		return true
	}
	l.flush()
	l.wantBytes.Store(bytes)
	l.wantRows.Store(rows)
	defer l.wantRows.Store(-1)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for !l.fallen(rows, bytes) {
		select {
		case <-l.freed:
		case <-timer.C:
			return l.fallen(rows, bytes)
		case <-ctx.Done():
			return false
		case <-stop.Done():
			return false
		}
	}
	return true
}

// take removes the longest prefix of complete batches, less if that would park too much at once. The caller gives them back with recycle.
func (l *ledger) take(into []*batch) []*batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, parked := 0, int64(0)
	for n < len(l.queue) && (l.queue[n].open.Load() == 0 || mutant.On("settle-before-ack")) {
		if parked += l.queue[n].parked; n > 0 && parked > parkedASettle {
			signal(l.done)
			break
		}
		n++
	}
	if mutant.On("highest-ack") {
		for i, b := range l.queue {
			if b.open.Load() == 0 {
				n = i + 1
			}
		}
	}
	into = append(into[:0], l.queue[:n]...)
	l.queue = append(l.queue[:0], l.queue[n:]...)
	return into
}

// takeAll removes every closed batch. The caller knows that they are complete, or will be before it settles them.
func (l *ledger) takeAll() []*batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := append([]*batch(nil), l.queue...)
	l.queue = l.queue[:0]
	return all
}

func (l *ledger) recycle(batches []*batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range batches {
		if b.open.Load() == 0 {
			l.free = append(l.free, b)
		}
	}
}

// settledAll says whether nothing is queued.
func (l *ledger) settledAll() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) == 0
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
