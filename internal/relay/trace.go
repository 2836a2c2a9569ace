package relay

import (
	"time"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/internal/tracing"
	"github.com/outboxrelay/relay/publisher"
)

// A sampled event has a span beside its ticket: begun before the record is handed over, finished by the ack, or with
// exactly_once by the commit. It begins with the insert, or with the time that the event asked for: so it is as long as
// what relay_delivery_seconds counts of the event. No span outlives its session.

// spansOfBatch is how many spans a batch has room for: what may be begun in a second. A batch is filled in less.
func spansOfBatch(t *tracing.Tracer) int {
	if t == nil {
		return 0
	}
	return min(batchRows, t.PerSecond())
}

// spanOf begins the span of an event, wanted since some time, whose trace is sampled.
func spanOf(t *tracing.Tracer, row *store.Row, since time.Time, topic string, headers []publisher.Header) (tracing.Span, bool) {
	var traceparent, tracestate []byte
	for i := range headers {
		switch headers[i].Key {
		case tracing.TraceparentHeader:
			traceparent = headers[i].Value
		case tracing.TracestateHeader:
			tracestate = headers[i].Value
		}
	}
	parent, sampled := tracing.Sampled(traceparent)
	if !sampled {
		return tracing.Span{}, false
	}
	s, ok := t.Begin(parent)
	if !ok {
		return s, false
	}
	if len(tracestate) <= tracing.MaxState {
		s.State = string(tracestate)
	}
	s.Topic, s.Event = topic, row.ID
	// By PostgreSQL's clock, which may be ahead of ours.
	s.Start = min(since.UnixNano(), time.Now().UnixNano())
	return s, true
}

// traceSent gives a ticket its span.
func (f *feed) traceSent(t *ticket, row *store.Row, record *publisher.Record, again bool) {
	s, ok := spanOf(f.trace, row, wanted(row), t.topic.name, record.Headers)
	if !ok {
		return
	}
	b := t.batch
	if b.traced == len(b.spans) {
		f.trace.Drop()
		return
	}
	s.Sent, s.Again = time.Now().UnixNano(), again
	b.spans[b.traced] = s
	b.traced++
	t.span = uint16(b.traced)
}

// traceParked tells of an event that cannot go. One that only waits for its time is not worth a span.
func (f *feed) traceParked(row *store.Row, topic string, v verdict) {
	if v.state == Scheduled {
		return
	}
	record, err := f.maker.make(row, topic)
	if err != nil {
		return // its traceparent cannot be read either
	}
	if s, ok := spanOf(f.trace, row, wanted(row), topic, record.Headers); ok {
		s.Class, s.Reason, s.Finish = v.state, v.reason, time.Now().UnixNano()
		f.trace.End(&s)
	}
}

// stored notes what an ack says. With last true nothing else comes.
func (t *ticket) stored(to *tracing.Tracer, partition int32, offset int64, last bool) {
	s := &t.batch.spans[t.span-1]
	s.Partition, s.Offset = partition, offset
	if last {
		s.Finish = time.Now().UnixNano()
		to.End(s)
	}
}

func (t *ticket) refused(to *tracing.Tracer, err error) {
	s := &t.batch.spans[t.span-1]
	s.Class, s.Reason, s.Finish = publisher.Class(err), publisher.Reason(err), time.Now().UnixNano()
	to.End(s)
}

// committed ends the span of an event whose transaction is committed, at this moment in microseconds of Unix time.
func (t *ticket) committed(to *tracing.Tracer, at int64) {
	s := &t.batch.spans[t.span-1]
	s.Finish = at * 1000
	to.End(s)
}

// uncommitted is the class of events that were acked in a transaction whose commit is not known.
const uncommitted = "uncommitted"

// traceUncommitted ends what a session leaves without a commit. Those that failed have been told of.
func (t *transaction) traceUncommitted(batches []*batch, why error) {
	if t.trace == nil {
		return
	}
	for _, b := range batches {
		for i := range b.tickets {
			if ticket := &b.tickets[i]; ticket.span > 0 && ticket.fate == acked {
				s := &b.spans[ticket.span-1]
				s.Class, s.Reason, s.Finish = uncommitted, why.Error(), time.Now().UnixNano()
				t.trace.End(s)
			}
		}
	}
}

// traceSent is the span of a parked event, or of its copy, that is being sent; nil when its trace is not sampled.
func (r *runner) traceSent(row *store.ParkedRow, record *publisher.Record) *tracing.Span {
	s, ok := spanOf(r.Trace, &row.Row, wantedParked(row), record.Topic, record.Headers)
	if !ok {
		return nil
	}
	s.Sent = time.Now().UnixNano()
	return &s
}

// traceLetter is traceSent for a copy on its way to the dead-letter topic. The copy is wanted since the event died.
func (r *runner) traceLetter(row *store.ParkedRow, record *publisher.Record) *tracing.Span {
	s := r.traceSent(row, record)
	if s != nil {
		s.Letter, s.Start = true, min(row.ParkedAt.UnixNano(), s.Sent)
	}
	return s
}

// traceFates tells what became of a shipment. failure is what kept its transaction from being committed, if it had one.
func (r *runner) traceFates(parcels []*parcel, failure error) {
	for _, p := range parcels {
		s := p.span
		if s == nil {
			continue
		}
		switch {
		case p.fate != acked:
			s.Class, s.Reason = publisher.Class(p.err), publisher.Reason(p.err)
		case r.dock.tx != nil && failure != nil:
			s.Class, s.Reason = uncommitted, publisher.Reason(failure)
		}
		if s.Finish == 0 || r.dock.tx != nil {
			s.Finish = time.Now().UnixNano()
		}
		r.Trace.End(s)
	}
}
