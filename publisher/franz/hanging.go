package franz

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/outboxrelay/relay/publisher"
)

// Hanging finds out why a partition cannot be read to its end: a transaction of one of these transactional ids that
// lies open in the key's partition of topic, while the coordinator believes that it is over. Nobody will end such a
// transaction, and no consumer of committed records gets past it. The answer is for a person and says what to do; it is
// "" when there is none. Ask after older producers of the ids were fenced, and while none has a transaction open.
//
// Kafka 4.3.1 makes one when a broker is killed amid a commit and started again, and comes to write the end of the
// transaction in the moment in which its own registration is renewed: then it takes the partitions for deleted
// ("likely deleted already and hence can be skipped") and the transaction for complete.
func Hanging(ctx context.Context, cfg publisher.Config, topic string, key []byte, ids ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	admin, err := OpenAdmin(cfg)
	if err != nil {
		return "", err
	}
	defer admin.Close()
	found, err := admin.Describe(ctx, []string{topic})
	if err != nil {
		return "", err
	}
	if found[0].Partitions == 0 {
		return "", found[0].Err
	}
	ask := kadm.NewClient(admin.client)
	partition := publisher.Partition(key, found[0].Partitions)
	where := kadm.TopicsSet{}
	where.Add(topic, partition)
	// In this order: a transaction that is over has been ended in the partitions before. Asked the other way round, one
	// that ends in between looks as if nobody had.
	transactions, err := ask.DescribeTransactions(ctx, ids...)
	if err != nil {
		return "", fmt.Errorf("ask for transactions: %w", notAnswered(err))
	}
	producers, err := ask.DescribeProducers(ctx, where)
	if err != nil {
		return "", fmt.Errorf("ask for the producers of topic %s: %w", topic, notAnswered(err))
	}
	for _, p := range producers.SortedProducers() {
		if p.CurrentTxnStartOffset < 0 || !over(transactions, p.ProducerID) {
			continue
		}
		return fmt.Sprintf("Kafka has left a transaction open that nobody will end: topic %s, partition %d, from offset %d on. "+
			"No consumer of committed records gets past it. Find all of it with kafka-transactions.sh --bootstrap-server %s find-hanging --broker-id %d, "+
			"and end it in each partition: … abort --topic %s --partition %d --start-offset %d; the relay then goes on by itself and loses nothing",
			topic, partition, p.CurrentTxnStartOffset, strings.Join(cfg.Brokers, ","), p.Leader, topic, partition, p.CurrentTxnStartOffset), nil
	}
	return "", nil
}

// over says whether the coordinator knows the producer, and no transaction of it that it would still end.
func over(transactions kadm.DescribedTransactions, producer int64) bool {
	for _, t := range transactions {
		if t.ProducerID == producer && t.Err == nil {
			return slices.Contains([]string{"Empty", "CompleteCommit", "CompleteAbort"}, t.State)
		}
	}
	return false
}
