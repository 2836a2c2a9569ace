package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/outboxrelay/relay/internal/alarm"
	"github.com/outboxrelay/relay/internal/fault"
	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

// session is one epoch's work from a cursor row to the first doubt.
type session struct {
	*Options
	state  *State
	epoch  int64
	trust  *trust
	memory *memory // of the earlier sessions of this term; handed on
	opened func()  // told when both sides are connected
	// caughtUp is told after each look that found all there was.
	caughtUp func()

	identity store.Identity
	reader   *store.Reader
	settler  *store.Settler
	producer publisher.Producer
	hold     time.Duration // how much trust must be left when a record is handed over; 0 where Kafka fences
	ungate   func()        // nil where Kafka fences
	ledger   *ledger
	feed     *feed
	settle   *settle      // nil with exactly_once
	txn      *transaction // nil with at_least_once
	runner   *runner
	dock     *dock // the runner's
	findings *findings
	fail     context.CancelCauseFunc
	alarm    *alarm.Alarm // the waiter's

	// unsettled is how many rows the session has sent and not settled, known at its end. Where no session of this
	// process follows, these are the second copies.
	unsettled int
}

// errDrained ends a session that had nothing left to do.
var errDrained = errors.New("drained")

// errDrainTimeout ends a session that was to stop, and whose events were not acked in time.
var errDrainTimeout = errors.New("not acked within drain_timeout")

// run works until the first doubt, which is its error, or until stop ends and everything in flight is settled; then
// the error is errDrained. It owns all it opens.
func (s *session) run(ctx, stop context.Context) error {
	if err := s.open(ctx, stop); err != nil {
		s.close()
		return err
	}
	ctx, s.fail = context.WithCancelCause(ctx)
	defer s.fail(nil)
	s.opened()
	s.state.began(s.ledger)
	hurry := make(chan struct{})
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := s.feed.run(gctx, stop); err != nil {
			return err
		}
		close(hurry)
		return s.drain(gctx)
	})
	if s.settle != nil {
		g.Go(func() error { return s.settle.run(gctx, hurry) })
	}
	g.Go(func() error { return s.runner.run(gctx, stop) })
	g.Go(func() error {
		select {
		case <-s.producer.Dead():
			return fmt.Errorf("the Kafka client ended: %w", s.producer.Err())
		case <-gctx.Done():
			return nil
		}
	})
	err := g.Wait()
	s.feed.waiter.rouse()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if s.txn != nil {
		s.txn.abandon()
	}
	s.producer.Close()
	if cause := s.findings.cause(); cause != nil && publisher.Fatal(err) {
		err = cause // the report that made the client give up says more than that it did
	}
	s.end(err)
	return err
}

// drain waits until all that was sent is settled.
func (s *session) drain(ctx context.Context) error {
	if err := fault.At("drain"); err != nil {
		return err
	}
	s.producer.Flush()
	deadline := time.Now().Add(s.DrainTimeout)
	for !s.ledger.settledAll() || s.ledger.rows.Load() > 0 {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d events: %w", s.ledger.rows.Load(), errDrainTimeout)
		}
		signal(s.ledger.done)
		sleep(ctx, 2*time.Millisecond)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return errDrained
}

// end settles what was acked in time, and learns what the next session should know. After a settle that failed it
// settles nothing: whether that one was written is not known.
func (s *session) end(why error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.settleLast(ctx); err != nil {
		s.Log.Warn("settling at the end of the session", "error", err)
	}
	unsettled := append(s.ledger.queue, s.feed.batch)
	if s.settle != nil && s.settle.broken {
		unsettled = append(unsettled, s.settle.taken...)
	}
	if s.txn != nil {
		unsettled = append(unsettled, s.txn.taken...)
		s.txn.traceUncommitted(unsettled, why)
	}
	for _, b := range unsettled {
		s.unsettled += len(b.tickets)
	}
	s.memory.learn(unsettled, s.txn != nil)
	if s.txn != nil {
		s.memory.limit = s.txn.limit
	}
	s.memory.position = store.Position{Cursor: s.feed.cursor, Anchors: s.feed.anchors}
	s.memory.take(s.findings)
	s.state.ended(reason(why), why)
	s.close()
}

// settleLast settles what is certain, unless the outcome of the last settle is not.
func (s *session) settleLast(ctx context.Context) error {
	switch {
	case s.txn != nil && !s.txn.broken:
		return s.txn.settle(ctx)
	case s.settle != nil && !s.settle.broken:
		return s.settle.once(ctx)
	}
	return nil
}

func (s *session) close() {
	if s.producer != nil {
		s.producer.Close()
	}
	if s.ungate != nil {
		s.ungate()
	}
	if s.dock != nil {
		s.dock.close()
	}
	if s.alarm != nil {
		_ = s.alarm.Close()
	}
	if s.reader != nil {
		s.reader.Close()
	}
	if s.settler != nil {
		s.settler.Close()
	}
	if s.runner != nil {
		s.runner.yard.Close()
	}
}

// Acked is the producer's report. It runs on the report goroutine.
func (s *session) Acked(tag any, partition int32, offset int64) {
	t := tag.(*ticket)
	if t.span > 0 {
		t.stored(s.Trace, partition, offset, s.txn == nil)
	}
	if s.txn == nil {
		s.state.landed(t, time.Now().UnixMicro())
	}
	s.ledger.ack(t)
}

// Failed is the producer's report. Any failure ends the session: what was in flight is read again.
func (s *session) Failed(tag any, err error) {
	t := tag.(*ticket)
	t.unwritten = publisher.NotWritten(err)
	if t.span > 0 {
		t.refused(s.Trace, err)
	}
	s.state.refused(publisher.Class(err))
	switch {
	case publisher.Rejected(err):
		if t.alone {
			s.findings.condemn(t.key, publisher.Reason(err))
		}
		s.ledger.fail(t, rejected)
	case publisher.TopicTrouble(err):
		s.findings.trouble(t.topic.name, publisher.Reason(err))
		s.ledger.fail(t, failed)
	default:
		s.ledger.fail(t, failed)
	}
	err = fmt.Errorf("topic %q: %w", t.topic.name, err)
	s.findings.failure(err)
	s.fail(err)
}
