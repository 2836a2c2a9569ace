package relay

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/alarm"
	"github.com/outboxrelay/relay/internal/fault"
	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

// open connects to both sides in the order of protocol §7. The lease is ours already. With exactly_once the producer
// comes next, which fences its predecessor; only then is the cursor row read, in a statement that finds it only while
// the lease is ours. So nothing that an older leader does can come after what is read here.
func (s *session) open(ctx, stop context.Context) error {
	names := store.In(s.Schema)
	if err := s.connect(ctx, names); err != nil {
		return err
	}
	s.dock = newDock(s.gatedOpen())
	s.dock.refused = s.state.refused
	var position store.Position
	var err error
	if s.ExactlyOnce == nil {
		position, err = s.position(ctx, names)
	} else {
		position, err = s.takeOver(ctx, stop, names)
	}
	if err != nil {
		return err
	}
	if position.Candidate != nil && s.ExactlyOnce == nil {
		s.Log.Warn("delivery was exactly_once, and a batch of then is in doubt: its events may come twice",
			"batch", position.Candidate.Batch)
	}
	if s.memory != nil && mutant.On("position-across-reconnect") {
		fence := position.Fence
		position = s.memory.position
		position.Fence = fence
	}
	waiter, err := s.waiterFor(ctx)
	if err != nil {
		return err
	}
	s.memory = s.memory.of(s.identity)
	aside := newAside(s.SkipDead)
	for topic, why := range s.memory.troubled {
		aside.postpone(topic, why, time.Now().Add(retryTopic))
	}
	if err := s.openRunner(ctx, aside, position.Fence); err != nil {
		return err
	}
	s.ledger, s.findings = newLedger(), newFindings()
	s.ledger.spans = spansOfBatch(s.Trace)
	if s.producer == nil {
		if s.producer, err = s.Open(s); err != nil {
			return fmt.Errorf("open the Kafka client: %w", publisher.Classed(err))
		}
		s.hold, s.ungate = s.trust.gate(s.producer, s.LeaseTTL)
	}
	s.ledger.flush = s.producer.Flush
	s.assemble(position, waiter, aside)
	s.Log.Info("session began", "epoch", s.epoch, "cursor", position.Cursor.String(), "wake", waiter.mode())
	return nil
}

// gatedOpen makes producers for the dock whose writing ends with the trust, where the client can do that.
func (s *session) gatedOpen() func(publisher.Reports) (gatedProducer, error) {
	return func(reports publisher.Reports) (gatedProducer, error) {
		p, err := s.Open(reports)
		if err != nil {
			return gatedProducer{}, err
		}
		hold, release := s.trust.gate(p, s.LeaseTTL)
		return gatedProducer{p, hold, release}, nil
	}
}

// connect opens the reader's and the settler's connection, and makes sure that they reach one server.
func (s *session) connect(ctx context.Context, names store.Names) error {
	conn, err := store.Connect(ctx, s.Postgres, "relay "+s.Name+" reader")
	if err != nil {
		return err
	}
	if s.reader, err = store.NewReader(ctx, conn, names, s.Postgres); err != nil {
		_ = conn.Close(ctx)
		return err
	}
	if s.identity, err = store.Identify(ctx, conn, names); err != nil {
		return err
	}
	settling, err := store.Connect(ctx, s.Postgres, "relay "+s.Name+" settler")
	if err != nil {
		return err
	}
	s.settler = store.NewSettler(settling, names, s.Name)
	other, err := store.Identify(ctx, settling, names)
	if err != nil {
		return err
	}
	if other != s.identity {
		return fmt.Errorf("two connections reach two servers: timelines %d and %d of systems %s and %s",
			s.identity.Timeline, other.Timeline, s.identity.System, other.System)
	}
	return fault.At("connected")
}

// position reads the cursor row, if the lease is still ours, and begins a session with it.
func (s *session) position(ctx context.Context, names store.Names) (store.Position, error) {
	p, err := store.ReadPosition(ctx, s.reader.Conn(), names, s.Name, s.Holder, s.epoch, s.identity)
	if err == nil {
		s.settler.Begin(p.Fence)
		s.noticeTimeline(&p)
		err = fault.At("position")
	}
	return p, err
}

// assemble puts the session's halves together.
func (s *session) assemble(position store.Position, waiter *waiter, aside *aside) {
	anchors := make(chan store.Anchor, 64)
	s.feed = &feed{
		reader: s.reader, producer: s.producer, ledger: s.ledger, memory: s.memory, trust: s.trust,
		judge: &judge{allow: s.Allow, compressed: s.Compressed, producer: s.producer, memory: s.memory,
			aside: aside, count: s.state.topic, topics: map[string]*topicState{}},
		maker: newRecordMaker(s.Headers, s.RowTimestamp), waiter: waiter,
		anchors: position.Anchors, cursor: position.Cursor, fresh: anchors,
		budget: s.bytesInFlight(), most: s.rowsInFlight(), hold: s.hold, redelivered: &s.state.redelivered, trace: s.Trace,
		anchored: time.Now(), anchorEvery: renewEvery(s.LeaseTTL),
	}
	if s.txn == nil {
		s.settle = &settle{settler: s.settler, ledger: s.ledger, aside: aside, fresh: anchors, settled: s.state.settled}
		return
	}
	s.txn.settler, s.txn.ledger, s.txn.aside, s.txn.fresh = s.settler, s.ledger, aside, anchors
	s.txn.state, s.txn.trace = s.state, s.Trace
	s.txn.settled, s.txn.budget, s.txn.limit = s.state.settled, s.MaxInFlight, s.memory.limit
	s.feed.txn = s.txn
}

// openRunner connects the parked runner and learns what stands aside, before feed reads its first row.
func (s *session) openRunner(ctx context.Context, aside *aside, fence store.Fence) error {
	names := store.In(s.Schema)
	conn, err := store.Connect(ctx, s.Postgres, "relay "+s.Name+" parked")
	if err != nil {
		return err
	}
	yard, err := store.NewYard(ctx, conn, names, s.Name, fence)
	if err != nil {
		_ = conn.Close(ctx)
		return err
	}
	s.runner = &runner{Options: s.Options, yard: yard, aside: aside, trust: s.trust, state: s.state,
		maker: newRecordMaker(s.Headers, s.RowTimestamp), dock: s.dock,
		away: newOutage(s.Log, "Kafka for parked events", new(atomic.Bool)), places: map[string]store.Place{}, recheck: map[string]bool{}}
	if s.dock.tx != nil {
		s.dock.tx.yard = yard
		s.dock.tx.delivered = func(events int) { s.state.delivered.Add(int64(events)) }
	}
	return s.runner.load(ctx)
}

// waiterFor chooses how to wait: listen where that is asked for or safe, else poll.
func (s *session) waiterFor(ctx context.Context) (*waiter, error) {
	var err error
	if s.alarm, err = alarm.New(); err != nil {
		return nil, err
	}
	w := &waiter{least: s.PollLeast, most: s.PollMost, alarm: s.alarm, caughtUp: s.caughtUp, rest: s.Rest}
	if s.Wake == "poll" {
		return w, nil
	}
	usable, err := store.Usable(ctx, s.reader.Conn())
	if err != nil {
		return nil, err
	}
	if !usable && s.Wake == "auto" {
		return w, nil
	}
	w.bell, err = store.NewDoorbell(ctx, s.reader.Conn(), s.identity)
	if err != nil && s.Wake == "auto" && s.reader.Conn().Ping(ctx) == nil {
		s.Log.Info("polling, because listening does not work here", "error", err)
		w.bell = nil
		return w, nil
	}
	return w, err
}
