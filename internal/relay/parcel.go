package relay

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/internal/tracing"
	"github.com/outboxrelay/relay/publisher"
)

// parcel is a parked event on its way to Kafka.
type parcel struct {
	no    int64
	topic string // the event's own
	key   *string
	state string
	place store.Place
	alone bool // sent with nothing else in flight
	fate  fate // written by the report goroutine before dock.arrived
	err   error
	// created is what a delivery is counted from, in microseconds of Unix time.
	created int64
	span    *tracing.Span // nil when the event's trace is not sampled
}

func newParcel(row *store.ParkedRow) *parcel {
	p := &parcel{no: row.No, topic: string(row.Topic), state: row.State, place: row.Place(), created: wantedParked(row).UnixMicro()}
	if row.Key != nil {
		key := string(row.Key)
		p.key = &key
	}
	return p
}

// dock sends parcels over a producer of its own, so that what fails here never disturbs the events that can go. The
// producer is opened when there is something to send and closed when it is dead or has long been idle.
type dock struct {
	open     func(publisher.Reports) (gatedProducer, error)
	producer publisher.Producer
	hold     time.Duration // how much trust must be left when a record is handed over; 0 where Kafka fences
	ungate   func()
	tx       *parkedTransaction // nil with at_least_once
	used     time.Time

	waiting atomic.Int64
	arrived chan struct{}
	refused func(class string) // told of each record that was not acked
	adrift  atomic.Bool        // a record was given up without an answer: it may still be stored
}

// gatedProducer is a producer with what trust.gate said of it.
type gatedProducer struct {
	publisher.Producer
	hold    time.Duration
	release func()
}

func newDock(open func(publisher.Reports) (gatedProducer, error)) *dock {
	return &dock{open: open, ungate: func() {}, arrived: make(chan struct{}, 1), refused: func(string) {}}
}

// ready gives the producer, a new one if there is none or the last one is dead.
func (d *dock) ready() (publisher.Producer, error) {
	d.used = time.Now()
	if d.producer != nil {
		select {
		case <-d.producer.Dead():
			d.close()
		default:
			return d.producer, nil
		}
	}
	if d.tx != nil {
		p, err := d.tx.open(d)
		if err != nil {
			return nil, err
		}
		d.producer = p
		return p, nil
	}
	p, err := d.open(d)
	if err != nil {
		return nil, err
	}
	d.producer, d.hold, d.ungate = p.Producer, p.hold, p.release
	return d.producer, nil
}

func (d *dock) close() {
	if d.tx != nil {
		d.tx.abandon()
	}
	if d.producer != nil {
		d.producer.Close()
		d.producer = nil
		d.ungate()
	}
}

// rest closes a producer that nobody has needed for a while.
func (d *dock) rest(after time.Duration) {
	opened := d.producer != nil || d.tx != nil && d.tx.fenced != nil
	if opened && time.Since(d.used) > after {
		d.close()
	}
}

// begin has to come before the first record of a shipment. The error is the producer's.
func (d *dock) begin(ctx context.Context) error {
	if d.tx == nil {
		return nil
	}
	return d.tx.begin(ctx, d)
}

// send hands a parcel's record over. The error is the producer's.
func (d *dock) send(ctx context.Context, record *publisher.Record, p *parcel) error {
	d.waiting.Add(1)
	err := d.producer.Send(ctx, record, p)
	if err != nil {
		d.waiting.Add(-1)
	}
	return err
}

// errDockClosed: the producer is gone, and with it its open transaction.
var errDockClosed = publisher.NewError(publisher.ClassClosed, "the producer of parked events was closed")

// wait returns when every parcel that was sent has its fate. A producer that died is closed, and so is one when ctx
// ends, which decides the rest; then the error is errDockClosed, though all may have been acked in the end.
func (d *dock) wait(ctx context.Context) error {
	if d.waiting.Load() > 0 {
		d.producer.Flush()
	}
	for d.waiting.Load() > 0 {
		select {
		case <-d.arrived:
		case <-d.producer.Dead():
			d.close()
			return errDockClosed
		case <-ctx.Done():
			d.close()
			return errDockClosed
		}
	}
	return nil
}

// Acked is the producer's report.
func (d *dock) Acked(tag any, partition int32, offset int64) {
	p := tag.(*parcel)
	p.fate = acked
	if p.span != nil {
		p.span.Partition, p.span.Offset, p.span.Finish = partition, offset, time.Now().UnixNano()
	}
	d.landed()
}

// Failed is the producer's report.
func (d *dock) Failed(tag any, err error) {
	p := tag.(*parcel)
	p.fate, p.err = failed, err
	d.refused(publisher.Class(err))
	if publisher.Rejected(err) {
		p.fate = rejected
	}
	if publisher.MaybeWritten(err) {
		d.adrift.Store(true)
	}
	d.landed()
}

func (d *dock) landed() {
	d.waiting.Add(-1)
	signal(d.arrived)
}
