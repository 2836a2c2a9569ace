package relay

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/outboxrelay/relay/internal/fault"
	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

// parkedID is what the parked runner's transactional id has behind the hot path's.
const parkedID = "-parked"

// parkedTransaction is what a dock has with delivery exactly_once: each shipment is one transaction of Kafka's,
// prepared in PostgreSQL like a batch of the hot path (transaction.go), and settled as soon as it is committed.
type parkedTransaction struct {
	exactly *ExactlyOnce
	yard    *store.Yard
	bracket *bracket
	log     *slog.Logger
	// delivered is told how many events were settled.
	delivered func(events int)
	patient   context.Context // ends when the runner is to stop: opening may take long

	fenced   publisher.Transactional // opened by the take-over, not in use yet
	producer publisher.Transactional
	number   int64 // of the last shipment prepared
	after    int64 // in the last committed progress record
	begun    bool
	asked    bool // the commit was asked for: an abort now would prove nothing
}

// fence throws out the older producer, and ends what it had left open.
func (t *parkedTransaction) fence(ctx context.Context, d *dock) (err error) {
	if t.fenced, err = t.exactly.Open(ctx, t.bracket.id, d); err != nil {
		return fmt.Errorf("take over the transactional id %q: %w", t.bracket.id, publisher.Classed(err))
	}
	return nil
}

// open gives a producer whose predecessors are fenced, and settles what they had committed.
func (t *parkedTransaction) open(d *dock) (publisher.Producer, error) {
	ctx, cancel := context.WithTimeout(t.patient, takeOverWithin)
	defer cancel()
	if t.fenced == nil {
		if err := t.fence(ctx, d); err != nil {
			return nil, err
		}
	}
	producer := t.fenced
	t.fenced = nil
	if err := t.resolve(ctx); err != nil {
		producer.Close()
		return nil, err
	}
	t.producer, t.begun, t.asked = producer, false, false
	return producer, nil
}

func (t *parkedTransaction) resolve(ctx context.Context) error {
	number, shipment, err := t.yard.Doubt(ctx)
	if err != nil {
		return err
	}
	last, err := lastProgress(ctx, t.exactly, t.bracket.id, t.bracket.own)
	if err != nil {
		return err
	}
	var doubt *inDoubt
	if shipment != nil {
		doubt = &inDoubt{shipment.Batch, shipment.After}
	}
	verdict, err := decide(number, doubt, last)
	if err != nil {
		return err
	}
	switch {
	case verdict.lost:
		t.log.Error("PostgreSQL has lost commits that Kafka has seen: parked events that were released since then may come twice",
			"batch", number, "kafka_batch", verdict.last)
	case verdict.committed:
		t.log.Info("the last shipment of parked events was committed in Kafka, settling it", "batch", shipment.Batch)
		if err := t.settle(ctx, shipment); err != nil {
			return err
		}
	}
	t.number, t.after = max(number, verdict.last), verdict.last
	return nil
}

// begin opens the shipment's transaction unless it is open.
func (t *parkedTransaction) begin(ctx context.Context, d *dock) error {
	if t.begun {
		return nil
	}
	if err := t.producer.Begin(); err != nil {
		return err
	}
	t.begun, t.asked = true, false
	return t.tell(ctx, d, t.number+1, true)
}

// tell sends a record of the bracket and waits for its report.
func (t *parkedTransaction) tell(ctx context.Context, d *dock, number int64, begin bool) error {
	record, err := t.bracket.record(ctx, t.producer, number, begin)
	if err != nil {
		return err
	}
	p := &parcel{}
	if err := d.send(ctx, record, p); err != nil {
		return t.bracket.untold(err)
	}
	if err := d.wait(ctx); err != nil {
		return err
	}
	if p.fate != acked {
		return t.bracket.untold(p.err)
	}
	return nil
}

// prepare writes down what the shipment will do. Its errors are PostgreSQL's.
func (t *parkedTransaction) prepare(ctx context.Context, s *store.Shipment) error {
	t.number++
	s.Batch, s.After = t.number, t.after
	if err := t.yard.Prepare(context.WithoutCancel(ctx), s); err != nil {
		return err
	}
	return fault.At("release-prepared")
}

// commit publishes a shipment that is prepared and all of whose events are acked. clean is publisher.Transactional's.
// After an error it is not known whether it happened: open finds out.
func (t *parkedTransaction) commit(ctx context.Context, d *dock) (clean bool, err error) {
	if err := t.tell(ctx, d, t.number, false); err != nil {
		return false, err
	}
	t.asked = true
	if clean, err = t.producer.Commit(ctx); err != nil {
		return false, err
	}
	t.begun, t.after = false, t.number
	return clean, nil
}

// settle does in PostgreSQL what was committed.
func (t *parkedTransaction) settle(ctx context.Context, s *store.Shipment) error {
	if err := fault.At("release-committed"); err != nil {
		return err
	}
	err := t.yard.Shipped(context.WithoutCancel(ctx), s)
	if err == nil {
		t.delivered(len(s.Released))
	}
	return err
}

// abandon aborts what is open. The producer may not be used afterwards.
func (t *parkedTransaction) abandon() {
	if t.fenced != nil {
		t.fenced.Close()
		t.fenced = nil
	}
	if t.producer == nil || !t.begun || t.asked || t.producer.Err() != nil {
		return
	}
	t.begun = false
	ctx, cancel := context.WithTimeout(context.Background(), abortWithin)
	defer cancel()
	_ = t.producer.Abort(ctx) // the next InitTransactions does the same
}

// publish makes visible what a shipment has sent, if all of it was acked; failure is what was not. It returns the
// failure that there is then, and PostgreSQL's error, which ends the session. With at_least_once it does nothing.
func (d *dock) publish(ctx context.Context, s *store.Shipment, failure error) (left, err error) {
	t := d.tx
	if t == nil || !t.begun {
		return failure, nil
	}
	if failure != nil {
		d.close()
		return failure, nil
	}
	if err := t.prepare(ctx, s); err != nil {
		return nil, err
	}
	clean, failure := t.commit(ctx, d)
	if failure == nil && (clean || mutant.On("parked-settle-after-doubt")) {
		return nil, t.settle(ctx, s)
	}
	d.close() // the next producer finds out what became of the shipment, before another is read
	return failure, nil
}
