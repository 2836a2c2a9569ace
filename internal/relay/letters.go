package relay

import (
	"context"
	"strconv"
	"time"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

// letters ships copies of dead events to the dead-letter topic.
func (r *runner) letters(ctx context.Context) error {
	if time.Now().Before(r.letterless) {
		return nil
	}
	producer, err := r.dock.ready()
	if err != nil {
		return r.wait(err)
	}
	if _, err := producer.Topic(ctx, r.DeadLetterTopic); err != nil {
		r.letterless = time.Now().Add(2 * retryTopic)
		r.Log.Warn("the dead-letter topic takes nothing, trying again", "topic", r.DeadLetterTopic, "error", err)
		return nil
	}
	return r.shipLetters(ctx)
}

// shipLetters sends copies of dead events to the dead-letter topic, as they were, with the story in headers.
func (r *runner) shipLetters(ctx context.Context) error {
	var parcels []*parcel
	var failure error
	bytes := int64(0)
	n, err := r.yard.Unlettered(ctx, r.limit(), func(row *store.ParkedRow) error {
		if failure != nil || bytes > shipmentBytes {
			return store.ErrStop
		}
		if row.Taken {
			return nil
		}
		bytes += row.Size()
		record, err := r.maker.make(&row.Row, r.DeadLetterTopic)
		if err != nil {
			record.Headers = record.Headers[:0]
		}
		record.Partition = publisher.AnyPartition
		record.Headers = append(record.Headers,
			publisher.Header{Key: "relay-reason", Value: []byte(row.Reason)},
			publisher.Header{Key: "relay-original-topic", Value: append([]byte(nil), row.Topic...)},
			publisher.Header{Key: "relay-attempts", Value: []byte(strconv.Itoa(int(row.Attempts)))},
			publisher.Header{Key: "relay-parked-at", Value: []byte(row.ParkedAt.Format(time.RFC3339Nano))},
			publisher.Header{Key: "relay-created-at", Value: []byte(row.CreatedAt.Format(time.RFC3339Nano))})
		p := newParcel(row)
		p.alone = r.careful > 0
		if err := r.trust.await(ctx, r.dock.hold); err != nil {
			return err
		}
		if failure = r.dock.begin(ctx); failure != nil {
			return store.ErrStop
		}
		if r.Trace != nil {
			p.span = r.traceLetter(row, record)
		}
		switch err := r.sendLetter(ctx, record, p); {
		case publisher.Rejected(err):
			p.fate, p.err, p.alone = rejected, err, true
		case err != nil:
			failure = err
			return store.ErrStop
		}
		parcels = append(parcels, p)
		return nil
	})
	if err != nil {
		return err
	}
	r.measure(n, bytes)
	if err := r.dock.wait(ctx); err != nil && r.dock.tx != nil && failure == nil {
		failure = err
	}
	if r.careful > 0 {
		r.careful--
	}
	return r.lettersSent(ctx, parcels, failure)
}

// sendLetter hands a copy over. The producer refuses it by what it knows of the topic, which may be half a minute old, and
// an event that is refused is never copied: so the cluster is asked again before that.
func (r *runner) sendLetter(ctx context.Context, record *publisher.Record, p *parcel) error {
	err := r.dock.send(ctx, record, p)
	if !publisher.Rejected(err) {
		return err
	}
	if _, err := r.dock.producer.TopicNow(ctx, r.DeadLetterTopic); err != nil {
		return err
	}
	return r.dock.send(ctx, record, p)
}

func (r *runner) lettersSent(ctx context.Context, parcels []*parcel, failure error) error {
	var done []int64
	for _, p := range parcels {
		switch {
		case p.fate == acked:
			done = append(done, p.no)
		case p.fate == rejected && p.alone:
			r.Log.Warn("the dead-letter topic refuses an event, which stays in outbox.parked only", "parked_no", p.no, "error", p.err)
			done = append(done, p.no)
		case p.fate == rejected:
			r.careful = carefulShipments
			failure = p.err
		default:
			failure = p.err
		}
	}
	if r.dock.tx != nil {
		refused := len(parcels) == 1 && parcels[0].fate == rejected
		if refused {
			failure = parcels[0].err // nothing is left to commit
		}
		var err error
		if failure, err = r.dock.publish(ctx, &store.Shipment{Lettered: done}, failure); err != nil {
			return err
		}
		if !refused {
			done = nil
		}
	}
	if r.Trace != nil {
		r.traceFates(parcels, failure)
	}
	if len(done) > 0 {
		if err := r.yard.Lettered(context.WithoutCancel(ctx), done); err != nil {
			return err
		}
	}
	if failure != nil {
		r.letterless = time.Now().Add(time.Second)
	}
	r.afterFault(ctx, failure)
	return nil
}
