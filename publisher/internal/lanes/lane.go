package lanes

import (
	"strings"
	"sync/atomic"
	"time"

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

// Lane is one partition as the producer sends to it.
//
//	shut ──one record──► shut, waiting ──acked with an offset──► open ──10 minutes without a record──► shut
type Lane struct {
	topic     *sending
	partition int32
	number    int32

	open atomic.Bool  // set by the reader at the first ack, cleared by Send after a rest
	sent atomic.Int64 // records; written by Send
	done atomic.Int64 // of them, reported; written by the reader
	ages ages

	// Owned by Send.
	used  time.Duration // when the last record was let in, since the producer started
	bytes int           // of the records since the lane was last empty; only for topics with a small limit
}

// Topic is the name of the lane's topic. It lives as long as the lane.
func (l *Lane) Topic() *string { return &l.topic.name }

// Partition of the topic.
func (l *Lane) Partition() int32 { return l.partition }

// Number is the lane's own among those of its producer, counted from 0.
func (l *Lane) Number() int32 { return l.number }

// empty says that nothing is unacked. Only Send may ask: it is the one who fills the lane.
func (l *Lane) empty() bool { return l.done.Load() == l.sent.Load() }

// sending is one topic as the producer sends to it. Owned by Send, but for unacked.
type sending struct {
	name    string
	topic   *topic
	answer  *answer // the one that lanes fits
	lanes   []*Lane
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
