package torture

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

const (
	operatorLooks = 2 * time.Second
	// hangsAfter is how long a transaction has been over for the coordinator, and open in a partition, before it is
	// called hanging: markers are written within milliseconds.
	hangsAfter = 10 * time.Second
)

// operator does what the relay's log tells the people on call to do when Kafka has left a transaction open for good
// (publisher/franz, Hanging): it aborts it. A relay that then loses or doubles something is found as usual.
type operator struct {
	admin  *kadm.Client
	topics []string
	note   func(journal.Action)
	since  map[hanging]time.Time
}

// hanging is a transaction as one partition holds it.
type hanging struct {
	topic     string
	partition int32
	producer  int64
	from      int64
}

func (o *operator) run(ctx context.Context) {
	o.since = map[hanging]time.Time{}
	for ; ctx.Err() == nil; pause(ctx, operatorLooks) {
		look, cancel := context.WithTimeout(ctx, 10*time.Second)
		_ = o.look(look) // a cluster that is away is looked at again
		cancel()
	}
}

func (o *operator) look(ctx context.Context) error {
	where := kadm.TopicsSet{}
	listed, err := o.admin.ListTopics(ctx, o.topics...)
	if err != nil {
		return err
	}
	listed.EachPartition(func(p kadm.PartitionDetail) { where.Add(p.Topic, p.Partition) })
	producers, err := o.admin.DescribeProducers(ctx, where)
	if err != nil {
		return err
	}
	transactions, err := o.admin.DescribeTransactions(ctx)
	if err != nil {
		return err
	}
	atWork := map[int64]bool{}
	for _, t := range transactions {
		atWork[t.ProducerID] = t.Err != nil || !slices.Contains([]string{"Empty", "CompleteCommit", "CompleteAbort"}, t.State)
	}
	seen := map[hanging]time.Time{}
	for _, p := range producers.SortedProducers() {
		if p.CurrentTxnStartOffset < 0 || atWork[p.ProducerID] {
			continue
		}
		h := hanging{p.Topic, p.Partition, p.ProducerID, p.CurrentTxnStartOffset}
		if seen[h] = o.since[h]; seen[h].IsZero() {
			seen[h] = time.Now()
		}
		if time.Since(seen[h]) >= hangsAfter {
			o.abort(ctx, p)
		}
	}
	o.since = seen
	return nil
}

func (o *operator) abort(ctx context.Context, p kadm.DescribedProducer) {
	where := kadm.TopicsSet{}
	where.Add(p.Topic, p.Partition)
	_, err := o.admin.WriteTxnMarkers(ctx, kadm.TxnMarkers{ProducerID: p.ProducerID, ProducerEpoch: p.ProducerEpoch,
		CoordinatorEpoch: max(p.CoordinatorEpoch, 0), Topics: where})
	detail := fmt.Sprintf("aborted a transaction that Kafka had left open: %s[%d] from offset %d, producer %d epoch %d",
		p.Topic, p.Partition, p.CurrentTxnStartOffset, p.ProducerID, p.ProducerEpoch)
	if err != nil {
		detail += ": " + err.Error()
	}
	o.note(journal.Action{What: journal.Operator, OK: err == nil, Detail: detail})
}
