package relay

import (
	"context"
	"time"

	"github.com/outboxrelay/relay/internal/fault"
	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

// shipped says how a shipment went.
type shipped struct {
	rows  int  // that were looked at
	taken int  // that somebody's open transaction has
	clean bool // nothing failed, and no topic was found to be in trouble
	stuck bool // nothing went, because of rows that are taken
}

// ship reads rows, sends those that judge lets go, waits for their acks, and writes down what became of each: acked
// ones are deleted, the others keep their place with a new state or reason. What somebody's open transaction has stays,
// and so does what comes behind it of its key: sent, it could not be deleted, and would be sent again and again. Its
// errors are PostgreSQL's.
func (r *runner) ship(ctx context.Context, read func(func(*store.ParkedRow) error) (int, error),
	judge func(*store.ParkedRow) verdict) (shipped, error) {
	if _, err := r.dock.ready(); err != nil {
		return shipped{}, r.wait(err)
	}
	alone := r.careful > 0
	var parcels []*parcel
	var changes []store.Change
	var failure error
	bytes, held, taken := int64(0), false, 0
	stay := map[store.TopicKey]bool{} // in this shipment: their later rows stay where they are
	n, err := read(func(row *store.ParkedRow) error {
		if failure != nil || held || bytes > shipmentBytes {
			return store.ErrStop
		}
		p := newParcel(row)
		p.alone = alone
		if row.Taken {
			taken++
			if p.key != nil {
				stay[store.TopicKey{Topic: p.topic, Key: *p.key}] = true
			}
			return nil
		}
		if p.key != nil && stay[store.TopicKey{Topic: p.topic, Key: *p.key}] {
			return nil
		}
		bytes += row.Size()
		v, err := r.sendParked(ctx, row, p, judge)
		switch {
		case err != nil:
			failure = err
			return store.ErrStop
		case v == send:
			parcels = append(parcels, p)
		default:
			r.stand(p, v)
			changes = append(changes, store.Change{No: p.no, State: v.state, Reason: v.reason})
			held = held || v.state == Held && p.state != Scheduled && p.state != Replay
			if v.state == Dead && p.key != nil && !r.SkipDead {
				stay[store.TopicKey{Topic: p.topic, Key: *p.key}] = true
			}
		}
		return nil
	})
	if err != nil {
		return shipped{}, err
	}
	r.measure(n, bytes)
	if err := fault.At("release-sent"); err != nil {
		return shipped{}, err
	}
	if err := r.dock.wait(ctx); err != nil && r.dock.tx != nil && failure == nil {
		failure = err // acked or not: the transaction is gone
	}
	if r.careful > 0 {
		r.careful--
	}
	var done []int64
	var landed []*parcel
	for _, p := range parcels {
		if p.fate == acked {
			done, landed = append(done, p.no), append(landed, p)
			continue
		}
		if failure == nil || publisher.Innocent(failure) {
			failure = p.err
		}
		if v := r.blame(p); v != send {
			if r.stand(p, v); v.state == Held { // Kafka says that the topic is there, and then takes nothing
				r.aside.postpone(p.topic, v.reason, time.Now().Add(retryTopic))
			}
			changes = append(changes, store.Change{No: p.no, State: v.state, Reason: v.reason})
		}
	}
	if r.dock.tx != nil {
		if failure, err = r.dock.publish(ctx, &store.Shipment{Released: done}, failure); err != nil {
			return shipped{}, err
		}
		done = nil
		if failure != nil {
			landed = nil
		}
	}
	if r.Trace != nil {
		r.traceFates(parcels, failure)
	}
	if err := r.writeDown(ctx, done, changes); err != nil {
		return shipped{}, err
	}
	r.state.released(landed)
	r.afterFault(ctx, failure)
	r.taken.rows += taken
	stuck := taken > 0 && len(parcels) == 0
	r.stuck = r.stuck || stuck
	return shipped{rows: n, taken: taken, clean: failure == nil && !held, stuck: stuck}, nil
}

// sendParked sends one row, or says what is to become of it instead. The error is one of the producer's.
func (r *runner) sendParked(ctx context.Context, row *store.ParkedRow, p *parcel, judge func(*store.ParkedRow) verdict) (verdict, error) {
	if v := judge(row); v != send {
		return v, nil
	}
	if why := notAllowed(r.Allow, p.topic); why != "" {
		return verdict{state: Held, reason: why}, nil
	}
	topic, err := r.dock.producer.Topic(ctx, p.topic)
	if publisher.TopicTrouble(err) {
		return verdict{state: Held, reason: publisher.Reason(err)}, nil
	}
	if err != nil {
		return send, err
	}
	record, err := r.maker.make(&row.Row, p.topic)
	if err != nil {
		return verdict{state: Dead, reason: "invalid_headers: " + err.Error()}, nil
	}
	if v, err := unfitNow(ctx, r.dock.producer, record, topic, r.Compressed); v != send || err != nil {
		return v, err
	}
	if err := r.trust.await(ctx, r.dock.hold); err != nil {
		return send, err
	}
	if err := r.dock.begin(ctx); err != nil {
		return send, err
	}
	if r.Trace != nil {
		p.span = r.traceSent(row, record)
	}
	err = r.dock.send(ctx, record, p)
	switch {
	case publisher.TopicTrouble(err):
		return verdict{state: Held, reason: publisher.Reason(err)}, nil
	case publisher.Rejected(err):
		return verdict{state: Dead, reason: publisher.Reason(err)}, nil
	}
	return send, err
}

// blame says what a parcel's failure proves: a topic's refusal holds, a refusal of a record sent alone condemns it,
// anything else blames nobody.
func (r *runner) blame(p *parcel) verdict {
	switch {
	case publisher.TopicTrouble(p.err):
		return verdict{state: Held, reason: publisher.Reason(p.err)}
	case p.fate == rejected && p.alone:
		return verdict{state: Dead, reason: publisher.Reason(p.err)}
	case p.fate == rejected:
		r.careful = carefulShipments
	}
	return send
}

// stand lets the topic or key of an event that cannot go stand aside.
func (r *runner) stand(p *parcel, v verdict) {
	switch {
	case v.state == Held:
		r.aside.askAgain(p.topic, v.reason)
	case v.state == Dead && p.key != nil && !r.SkipDead:
		r.aside.standKey(p.topic, *p.key)
	}
}

// writeDown makes the outcome durable: first what is gone, then what stays.
func (r *runner) writeDown(ctx context.Context, done []int64, changes []store.Change) error {
	ctx = context.WithoutCancel(ctx)
	if err := fault.At("release-acked"); err != nil {
		return err
	}
	if len(done) > 0 {
		if err := r.yard.Released(ctx, done); err != nil {
			return err
		}
		r.state.delivered.Add(int64(len(done)))
	}
	if err := fault.At("release-deleted"); err != nil {
		return err
	}
	if len(changes) > 0 {
		return r.yard.Changed(ctx, changes)
	}
	return nil
}

// afterFault decides how to go on after something failed.
func (r *runner) afterFault(ctx context.Context, failure error) {
	switch {
	case failure == nil:
		r.away.over()
	case ctx.Err() != nil: // the session is over, whatever the producer says of it
	case publisher.Rejected(failure), publisher.TopicTrouble(failure), publisher.Innocent(failure):
		r.dock.close() // what a producer left out after a failure must not be filled in by the same one
	default:
		_ = r.wait(failure)
	}
}
