package relay

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/outboxrelay/relay/publisher"
)

// bracket makes the two records around the events of a transaction, both on one partition of the progress topic:
//
//	begin record    Without it a late EndTxn(abort) could wipe the events, and the progress record would then open, and
//	                commit, a transaction of its own. With it the broker refuses the progress record.
//	progress record The last, sent only after every event was acked, or a late EndTxn(commit) could commit it before
//	                them.
type bracket struct {
	topic string
	id    string // transactional id, and key of the progress record
	own   progress
}

// untold is the error of a record of the bracket that Kafka did not take. Its class is a transaction's, whatever was
// wrong: what is said of the progress topic is no judgement on an event, nor on the event's topic.
func (b *bracket) untold(err error) error {
	if !publisher.OfKafka(err) {
		return fmt.Errorf("write to progress topic %q: %w", b.topic, err)
	}
	return publisher.NewError(publisher.ClassTransaction, fmt.Sprintf("write to progress topic %q: %s", b.topic, publisher.Reason(err)))
}

// beginKey keeps begin records from replacing progress records when the topic is compacted.
const beginKey = "/begin"

// record is the begin record, or the progress record of a batch.
func (b *bracket) record(ctx context.Context, p publisher.Producer, batch int64, begin bool) (*publisher.Record, error) {
	topic, err := p.Topic(ctx, b.topic)
	if err != nil {
		return nil, b.untold(err)
	}
	content := b.own
	content.Batch, content.Begin = batch, begin
	value, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("write a progress record: %w", err)
	}
	r := &publisher.Record{Topic: b.topic, Key: []byte(b.id), Value: value,
		Partition: publisher.Partition([]byte(b.id), topic.Partitions)}
	if begin {
		r.Key = []byte(b.id + beginKey)
	}
	return r, nil
}
