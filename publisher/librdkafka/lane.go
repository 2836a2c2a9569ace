//go:build cgo

package librdkafka

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/publisher"
)

const (
	// forgets is how long a partition may rest before slow start begins anew there: the broker may have forgotten us.
	forgets = 10 * time.Minute
	// run is how many records without a key go to one partition in a row, so that batches form.
	run = 100
	// slack is what a record can take in a common batch beyond its size in one of its own: longer deltas.
	slack = 16
)

// lane is one partition as the producer sends to it.
//
//	shut ──one record──► shut, waiting ──acked with an offset──► open ──10 minutes without a record──► shut
type lane struct {
	open atomic.Bool  // set by the reader at the first ack, cleared by Send after a rest
	sent atomic.Int64 // records; written by Send
	done atomic.Int64 // of them, reported; written by the reader
	ages ages

	// Owned by Send.
	used  time.Duration // when the last record went, since the producer started
	bytes int           // of the records since the lane was last empty; only for topics with a small limit
}

// empty says that nothing is unacked. Only Send may ask: it is the one who fills the lane.
func (l *lane) empty() bool { return l.done.Load() == l.sent.Load() }

type laneKey struct {
	topic     string
	partition int32
}

// sending is one topic as the producer sends to it. Owned by Send, but for unacked.
type sending struct {
	name    string
	topic   *topic
	answer  *answer // the one that lanes fits
	lanes   []*lane
	unacked atomic.Int64 // records of all lanes
	window  int          // bytes unacked in one lane at most; 0 is no bound

	current int32 // partition of records without a key
	left    int   // how many more of them go there
}

// accepts says whether Kafka would take the record.
func (s *sending) accepts(r *publisher.Record, compressed bool) error {
	a := s.answer
	switch {
	case r.Partition < publisher.AnyPartition || r.Partition >= a.topic.Partitions:
		return publisher.NewError(publisher.ClassBadPartition, "the topic does not have the partition asked for")
	case a.topic.Compacted && r.Key == nil:
		return publisher.NewError(publisher.ClassInvalidRecord, "the topic is compacted: a record needs a key")
	case !compressed && a.topic.MaxMessageBytes != publisher.NoLimit && r.BatchSize() > a.topic.MaxMessageBytes:
		return publisher.NewError(publisher.ClassTooLarge, "larger than the topic's max.message.bytes")
	}
	for i := range r.Headers {
		// C strings end there: the header would get another name.
		if strings.IndexByte(r.Headers[i].Key, 0) >= 0 {
			return publisher.NewError(publisher.ClassInvalidRecord, "a header's name has a zero byte")
		}
	}
	return nil
}

// pick chooses the partition of a record that does not ask for one.
func (s *sending) pick(key []byte) int32 {
	n := s.answer.topic.Partitions
	if key != nil {
		return publisher.Partition(key, n)
	}
	if s.left == 0 || s.current >= n {
		s.current = (s.current + 1) % n
		s.left = run
	}
	s.left--
	return s.current
}

// enter waits until the lane may take the record.
func (p *Producer) enter(ctx context.Context, l *lane, s *sending, r *publisher.Record) error {
	now := time.Since(p.started)
	if l.open.Load() && now-l.used > forgets && l.empty() {
		l.open.Store(false)
	}
	l.used = now
	if !l.open.Load() && !mutant.On("no-slow-start") {
		// After the wait the lane is open, or it is empty because the record before was never acked.
		if err := p.wait(ctx, func() bool { return l.open.Load() || l.empty() }); err != nil {
			return err
		}
	}
	if s.window == 0 {
		return nil
	}
	// The topic's limit is one for batches, and smaller than batch.size: what is unacked together fits one batch.
	size := r.BatchSize() + slack
	if l.bytes+size > s.window {
		if err := p.wait(ctx, l.empty); err != nil {
			return err
		}
	}
	if l.empty() {
		l.bytes = 0
	}
	l.bytes += size
	return nil
}

// wait returns when the condition holds, ctx is over or the producer is dead.
func (p *Producer) wait(ctx context.Context, holds func() bool) error {
	if holds() {
		return nil
	}
	p.waiting.Store(true)
	defer p.waiting.Store(false)
	for !holds() {
		select {
		case <-p.ring:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.dead:
			return p.Err()
		}
	}
	return nil
}

// topicOf finds the topic to send to, and follows what the cluster says of it.
func (p *Producer) topicOf(ctx context.Context, name string) (*sending, error) {
	s := p.last
	if s == nil || s.name != name {
		if s = p.sending[name]; s == nil {
			if _, err := p.Topic(ctx, name); err != nil {
				return nil, err
			}
			name = strings.Clone(name) // the caller may reuse the memory
			s = &sending{name: name, topic: p.topics.keep(name)}
			p.sending[name] = s
		}
		p.last = s
	}
	if latest := s.topic.latest.Load(); latest != s.answer {
		if latest.err != nil {
			return nil, latest.err
		}
		if err := p.adopt(ctx, s, latest); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// adopt goes over to a newer answer about the topic. With another number of partitions keys change their partition,
// so it waits until nothing of the topic is in flight: else a key's later record could overtake an earlier one.
func (p *Producer) adopt(ctx context.Context, s *sending, latest *answer) error {
	if s.answer != nil && s.answer.topic.Partitions != latest.topic.Partitions {
		if err := p.wait(ctx, func() bool { return s.unacked.Load() == 0 }); err != nil {
			return err
		}
		p.log.Info("topic has another number of partitions: keys go to other ones from now on",
			"topic", s.name, "before", s.answer.topic.Partitions, "now", latest.topic.Partitions)
	}
	for n := int32(len(s.lanes)); n < latest.topic.Partitions; n++ {
		l := &lane{}
		s.lanes = append(s.lanes, l)
		p.lanes.Store(laneKey{s.name, n}, reported{l, s})
	}
	if s.answer == nil {
		s.current = int32(time.Since(p.started)) & 0x7fffffff % latest.topic.Partitions
	}
	s.window = 0
	if limit := latest.topic.MaxMessageBytes; limit != publisher.NoLimit && limit < p.batchSize {
		s.window = limit
	}
	s.answer = latest
	return nil
}
