package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/outboxrelay/relay/internal/fault"
	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/internal/tracing"
	"github.com/outboxrelay/relay/publisher"
)

// A transaction costs about 5 ms whatever its size, and its events are seen when it ends. So it grows while there is a
// backlog and shrinks when the broker is slow.
const (
	leastTransaction = 16
	firstTransaction = 1000
	mostTransaction  = 20_000
	// transactionAge is how long one is filled at most, slowTransaction how long one may take in all before the next
	// are made smaller. Both are far below TransactionTimeout.
	transactionAge  = 500 * time.Millisecond
	slowTransaction = 3 * time.Second
	// abortWithin bounds the abort at the end of a session. It only spares readers a wait: a successor would do it.
	abortWithin = 2 * time.Second
)

// TransactionTimeout is when the cluster ends a transaction that nobody ends. Nobody waits for it but consumers, when
// no replica is left. UnackedTimeout is how long a record may wait for its ack before the session gives up.
const (
	TransactionTimeout = 60 * time.Second
	UnackedTimeout     = 40 * time.Second
)

// errRecycle ends a session whose producer must not begin another transaction. Nothing is wrong.
var errRecycle = errors.New("a commit took so long that it may have been sent twice: the producer is replaced")

// transaction is settling with delivery exactly_once (protocol §8), in two phases around Kafka's transactions:
//
//	PostgreSQL  prepare: settle batch k-1, write down what settling k will do         (beside the events, before commit)
//	Kafka       begin · begin record · events · their acks · progress record k · commit
//
// It is feed's own: between begin and commit stands what feed sends.
type transaction struct {
	producer publisher.Transactional
	settler  *store.Settler
	ledger   *ledger
	aside    *aside
	bracket  *bracket
	fresh    chan<- store.Anchor
	settled  func(*store.Settlement)
	state    *State
	trace    *tracing.Tracer // nil without tracing
	budget   int64

	number int64 // of the last batch prepared
	after  int64 // in Kafka's last committed progress record
	limit  int   // rows of one transaction; remembered over sessions

	open        bool
	asked       bool // the commit was asked for: an abort now would prove nothing
	began       time.Time
	rows        int
	bytes       int64
	own         *batch // tickets of the begin record and the progress record
	progress    *topicState
	committedAt time.Time
	taken       []*batch  // from the ledger, to be committed; empty when it is
	previous    *settling // committed in Kafka, not yet settled
	broken      bool      // the last statement failed: whether previous is settled is not known
}

func newBracketBatch() *batch { return &batch{tickets: make([]ticket, 0, 2)} }

// begin opens a transaction unless one is open.
func (t *transaction) begin(ctx context.Context) error {
	if t.open {
		return nil
	}
	if err := fault.At("begin"); err != nil {
		return err
	}
	if err := t.producer.Begin(); err != nil {
		return err
	}
	t.open, t.asked, t.began, t.rows, t.bytes = true, false, time.Now(), 0, 0
	t.own.reset()
	if mutant.On("no-begin-record") {
		return nil
	}
	return t.tell(ctx, t.number+1, !mutant.On("progress-first"))
}

// tell sends a record of the bracket.
func (t *transaction) tell(ctx context.Context, number int64, begin bool) error {
	record, err := t.bracket.record(ctx, t.producer, number, begin)
	if err != nil {
		return err
	}
	ticket := t.ledger.issue(t.own, rowKey{}, int64(len(record.Value)), t.progress)
	if err := t.producer.Send(ctx, record, ticket); err != nil {
		t.ledger.withdraw(ticket)
		return t.bracket.untold(err)
	}
	return nil
}

// count notes that a row was sent.
func (t *transaction) count(size int64) {
	t.rows++
	t.bytes += size
}

// full says that the transaction should be committed though there are more rows.
func (t *transaction) full() bool {
	if t.ledger.parked.Load() >= parkedASettle {
		return true
	}
	if !t.open {
		return false
	}
	return t.rows >= t.limit || t.bytes*mostTransaction >= t.budget*int64(t.limit) ||
		t.rows%64 == 0 && time.Since(t.began) >= transactionAge
}

// commit ends what feed has put together: closed batches, and the transaction if rows were sent. Afterwards they are
// delivered. The error ends the session; errRecycle is one of them.
func (t *transaction) commit(ctx context.Context) error {
	taken := t.ledger.takeAll()
	if len(taken) == 0 {
		return nil
	}
	next := sumUp(taken)
	if !t.open { // nothing was sent: Kafka has no say
		err := t.settleAll(ctx, next)
		t.ledger.recycle(taken)
		return err
	}
	t.taken = taken
	prepared := make(chan error, 1)
	go func() { prepared <- t.prepare(ctx, next) }()
	acked := t.acked(ctx)
	if err := <-prepared; err != nil {
		return err
	}
	if acked != nil {
		return acked
	}
	full := t.rows >= t.limit
	clean, err := t.end(ctx)
	if err != nil {
		return err
	}
	if !clean && !mutant.On("settle-after-doubt") {
		// The client says committed, and may say so of a transaction whose end Kafka has not written: it is settled
		// when the progress record has been read.
		return errRecycle
	}
	t.landed(taken)
	t.open, t.after, t.previous, t.committedAt, t.taken = false, t.number, next, time.Now(), nil
	t.ledger.recycle(taken)
	t.adapt(full, time.Since(t.began))
	if err := fault.At("committed"); err != nil {
		return err
	}
	if len(next.Parked) > 0 {
		if err := t.settle(ctx); err != nil { // who waits for parked events to be in the table waits no longer
			return err
		}
	}
	if !clean {
		return errRecycle
	}
	return nil
}

// landed counts the events of a transaction that was committed.
func (t *transaction) landed(batches []*batch) {
	at := time.Now().UnixMicro()
	for _, b := range batches {
		for i := range b.tickets {
			ticket := &b.tickets[i]
			if ticket.topic != nil {
				t.state.landed(ticket, at)
			}
			if ticket.span > 0 {
				ticket.committed(t.trace, at)
			}
		}
	}
}

// acked waits for the reports of all that was sent.
func (t *transaction) acked(ctx context.Context) error {
	if mutant.On("progress-before-acks") || t.ledger.await(ctx, ctx, forEver, 0, 0) {
		return fault.At("acked")
	}
	return context.Cause(ctx)
}

// end commits in Kafka.
func (t *transaction) end(ctx context.Context) (clean bool, err error) {
	if !mutant.On("progress-first") {
		if err := t.tell(ctx, t.number, false); err != nil {
			return false, err
		}
	}
	if !t.ledger.await(ctx, ctx, forEver, 0, 0) {
		return false, context.Cause(ctx)
	}
	if err := fault.At("progress"); err != nil {
		return false, err
	}
	t.asked = true
	clean, err = t.producer.Commit(ctx)
	if err == nil {
		err = fault.At("commit")
	}
	return clean, err
}

// prepare makes the next batch a candidate, and settles the one before in the same statement.
func (t *transaction) prepare(ctx context.Context, next *settling) error {
	if err := fault.At("prepare-ready"); err != nil {
		return err
	}
	t.number++
	var settled *store.Settlement
	if t.previous != nil {
		settled = &t.previous.Settlement
	}
	anchor, err := t.settler.Prepare(context.WithoutCancel(ctx), settled,
		&store.Candidate{Batch: t.number, After: t.after, Settlement: next.Settlement})
	if err != nil {
		t.broken = true
		return fmt.Errorf("prepare batch %d: %w", t.number, err)
	}
	t.applied(anchor)
	return fault.At("prepare-done")
}

// settle moves the cursor behind what Kafka has committed.
func (t *transaction) settle(ctx context.Context) error {
	if t.previous == nil {
		return nil
	}
	err := fault.At("settle-ready")
	var anchor store.Anchor
	if err == nil {
		anchor, err = t.settler.Settle(context.WithoutCancel(ctx), &t.previous.Settlement)
	}
	if err == nil {
		err = fault.At("settle-done")
	}
	if err != nil {
		t.broken = true
		return fmt.Errorf("move the cursor: %w", err)
	}
	t.applied(anchor)
	return nil
}

// settleAll settles what Kafka has committed together with what it need not be asked about.
func (t *transaction) settleAll(ctx context.Context, next *settling) error {
	if t.previous != nil {
		next.Books.Add(&t.previous.Books)
		next.Parked = append(t.previous.Parked, next.Parked...)
		next.parked += t.previous.parked
		next.standings = append(t.previous.standings, next.standings...)
	}
	t.previous = next
	return t.settle(ctx)
}

// applied tells everybody that previous is settled.
func (t *transaction) applied(anchor store.Anchor) {
	if t.previous == nil {
		return
	}
	t.aside.settled(t.previous.standings)
	t.ledger.parkedAway(t.previous.parked)
	select {
	case t.fresh <- anchor:
	default:
	}
	t.settled(&t.previous.Settlement)
	t.previous = nil
}

// rest settles the last batch when no other comes that would.
func (t *transaction) rest(ctx context.Context) error {
	if time.Since(t.committedAt) < settleEvery {
		return nil
	}
	return t.settle(ctx)
}

// adapt chooses the size of the next transactions.
func (t *transaction) adapt(full bool, took time.Duration) {
	switch {
	case took > slowTransaction:
		t.limit = max(t.limit/2, leastTransaction)
	case full && took < transactionAge:
		t.limit = min(t.limit*2, mostTransaction)
	}
}

// abandon aborts what is open at the end of a session, so that consumers do not wait for it, and settles what is
// known to be committed. The producer must still be there; it may not be used afterwards.
func (t *transaction) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), abortWithin)
	defer cancel()
	if t.open && !t.asked && t.producer.Err() == nil {
		_ = t.producer.Abort(ctx) // a successor's InitTransactions does the same
	}
	if t.open && time.Since(t.began) > slowTransaction {
		t.limit = max(t.limit/4, leastTransaction)
	}
}
