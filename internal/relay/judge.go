package relay

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

// The states in which an event is parked (protocol §4).
const (
	Scheduled = "scheduled" // its time has not come
	Held      = "held"      // its topic is missing, forbidden or not allowed: nothing is wrong with the event
	Dead      = "dead"      // Kafka will never take it
	Behind    = "behind"    // an event of its topic and key is held or dead
	Replay    = "replay"    // an operator asked for it again
)

// verdict is what is to become of a row: State "" means send it.
type verdict struct {
	state, reason string
	due           time.Time
}

var send = verdict{}

// topicState is what the session knows of a topic. It is feed's own.
type topicState struct {
	name    string
	info    publisher.Topic
	trouble string // why its events are held; "" when they are not
	acked   *atomic.Int64
	asked   uint64 // number of the page in which the producer was last asked
}

// maxHeaders bounds a record's headers: Kafka itself sets no limit, and consumers fail on absurd numbers.
const maxHeaders = 1000

// judge says what is to become of rows. It knows topics, and which keys have events that stand aside.
type judge struct {
	allow      []string
	compressed bool // sizes before compression prove nothing
	producer   publisher.Producer
	memory     *memory
	aside      *aside
	count      func(topic string) *atomic.Int64
	topics     map[string]*topicState
	page       uint64
}

// nextPage lets each topic be asked about once more.
func (j *judge) nextPage() { j.page++ }

// topic finds the state of a row's topic, asking the producer at most once a page. The error is one of asking.
func (j *judge) topic(ctx context.Context, name []byte) (*topicState, error) {
	t := j.topics[string(name)]
	if t == nil {
		t = &topicState{name: string(name)}
		j.topics[t.name] = t
	}
	if t.asked == j.page && t.asked > 0 {
		return t, nil
	}
	t.asked = j.page
	if t.trouble = j.refused(t.name); t.trouble != "" {
		return t, nil
	}
	info, err := j.producer.Topic(ctx, t.name)
	switch {
	case publisher.TopicTrouble(err):
		t.trouble = publisher.Reason(err)
	case err != nil:
		return nil, fmt.Errorf("ask for topic %q: %w", t.name, publisher.Classed(err))
	}
	t.info = info
	if t.trouble == "" && t.acked == nil { // not before the topic is known to exist: anybody may write any name into a row
		t.acked = j.count(t.name)
	}
	return t, nil
}

// refused says why the relay does not write to a topic.
func (j *judge) refused(name string) string {
	if why := notAllowed(j.allow, name); why != "" {
		return why
	}
	return j.aside.trouble(name)
}

// notAllowed says why the configuration forbids a topic.
func notAllowed(allow []string, name string) string {
	if strings.HasPrefix(name, "__") {
		return "forbidden: an internal topic of Kafka's"
	}
	for _, pattern := range allow {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return ""
		}
	}
	return "not_allowed: the topic is not in topics.allow"
}

// early judges what can be told before the record is made.
func (j *judge) early(row *store.Row, t *topicState) verdict {
	if !row.DeliverAt.IsZero() && row.DeliverAt.After(time.Now()) {
		return verdict{state: Scheduled, due: row.DeliverAt}
	}
	if t.trouble != "" {
		return verdict{state: Held, reason: t.trouble}
	}
	if reason := j.aside.behind(t.name, row.Key); reason != "" {
		return verdict{state: Behind, reason: reason}
	}
	if reason := j.memory.verdict(rowKey{row.Seq, row.ID}); reason != "" {
		return verdict{state: Dead, reason: reason}
	}
	return send
}

// late judges the record against its topic. The error is one of asking.
func (j *judge) late(ctx context.Context, r *publisher.Record, t *topicState) (verdict, error) {
	return unfitNow(ctx, j.producer, r, t.info, j.compressed)
}

// unfitNow is unfit by what the cluster says now: what is known may be half a minute old, and an event that is called
// dead by it may be one for which the topic was just made fit.
func unfitNow(ctx context.Context, p publisher.Producer, r *publisher.Record, t publisher.Topic, compressed bool) (verdict, error) {
	if unfit(r, t, compressed) == send {
		return send, nil
	}
	t, err := p.TopicNow(ctx, r.Topic)
	switch {
	case publisher.TopicTrouble(err):
		return verdict{state: Held, reason: publisher.Reason(err)}, nil
	case err != nil:
		return send, fmt.Errorf("ask for topic %q: %w", r.Topic, err)
	}
	return unfit(r, t, compressed), nil
}

// unfit says that the topic would refuse the record, and why, in the order of what a person would want to know first.
func unfit(r *publisher.Record, t publisher.Topic, compressed bool) verdict {
	switch {
	case r.Partition >= t.Partitions:
		return verdict{state: Dead, reason: fmt.Sprintf("bad_partition: partition %d of a topic with %d", r.Partition, t.Partitions)}
	case t.Compacted && r.Key == nil:
		return verdict{state: Dead, reason: "invalid_record: a compacted topic takes no record without a key"}
	case len(r.Headers) > maxHeaders:
		return verdict{state: Dead, reason: fmt.Sprintf("too_many_headers: %d headers, at most %d are sent", len(r.Headers), maxHeaders)}
	case t.MaxMessageBytes != publisher.NoLimit && !compressed && r.BatchSize() > t.MaxMessageBytes:
		return verdict{state: Dead, reason: fmt.Sprintf("too_large: %d bytes with headers, the topic's max.message.bytes is %d",
			r.BatchSize(), t.MaxMessageBytes)}
	}
	return send
}
