package franz

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/publisher"
)

const (
	// lookBack is how many offsets before the end Last begins to look; each time in vain it looks sixteen times as far.
	lookBack = 500
	// fetchWait is how long a broker may hold an answer back when there is nothing new.
	fetchWait = 20 * time.Millisecond
	// fetchBytes is the least that one answer may hold at most.
	fetchBytes = 8 << 20
	// betweenLeaders is the pause after a broker has sent us away: it takes a moment until another leads the partition.
	betweenLeaders = 50 * time.Millisecond
)

// Last is the newest committed record of a key, nil when the topic has none. The key's partition is the one that
// murmur2 gives. It has read the partition up to the end that it had when Last was called, or it fails: "not found" is
// never "could not read". Transactions of others that are open before that end are waited for, within ctx.
//
// It asks with requests of its own, because a consumer of franz-go does not tell how far it has read where there are no
// records: what compaction leaves at the end may be an empty batch.
func Last(ctx context.Context, cfg publisher.Config, topic string, key []byte) (*publisher.TailRecord, error) {
	client, err := newClient(cfg, newGate(), nil, endsWith(ctx))
	if err != nil {
		return nil, misconfigured(err)
	}
	defer client.Close()
	l := &lastReader{client: client, topic: topic, key: key}
	if err := l.bounds(ctx); err != nil {
		return nil, err
	}
	for distance := int64(lookBack); ; distance *= 16 {
		from := max(l.start, l.end-distance)
		found, err := l.read(ctx, from)
		if found != nil || err != nil || from == l.start {
			return found, err
		}
	}
}

// lastReader reads one partition backwards in steps.
type lastReader struct {
	client     *kgo.Client
	topic      string
	id         [16]byte
	key        []byte
	partition  int32
	leader     int32
	start, end int64 // of the partition
}

// locate finds the key's partition and its leader.
func (l *lastReader) locate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	found, err := locate(ctx, l.client, []string{l.topic})
	if err != nil {
		return fmt.Errorf("read topic %s: %w", l.topic, notAnswered(err))
	}
	d := found[l.topic]
	if d.err != nil && d.err.Error() != publisher.FromCode(codeForbidden).Error() {
		return fmt.Errorf("read topic %s: %w", l.topic, d.err)
	}
	if len(d.partitions) == 0 {
		return fmt.Errorf("read topic %s: %w", l.topic, publisher.FromCode(codeForbidden))
	}
	l.id, l.partition = d.id, publisher.Partition(l.key, int32(len(d.partitions)))
	for _, p := range d.partitions {
		if p.Partition == l.partition {
			l.leader = p.Leader
		}
	}
	return nil
}

// bounds finds the partition and where it begins and ends. The end is that of all records: the end of the committed
// ones would hide ours behind another's open transaction.
func (l *lastReader) bounds(ctx context.Context) error {
	if err := l.locate(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	admin := kadm.NewClient(l.client)
	for _, b := range []struct {
		to  *int64
		ask func(context.Context, ...string) (kadm.ListedOffsets, error)
	}{{&l.start, admin.ListStartOffsets}, {&l.end, admin.ListEndOffsets}} {
		listed, err := b.ask(ctx, l.topic)
		if err != nil {
			return fmt.Errorf("ask for the end of topic %s: %w", l.topic, notAnswered(err))
		}
		at, ok := listed.Lookup(l.topic, l.partition)
		switch {
		case !ok:
			return fmt.Errorf("ask for the end of topic %s: no answer", l.topic)
		case at.Err != nil:
			return fmt.Errorf("ask for the end of topic %s: %w", l.topic, asError(at.Err))
		}
		*b.to = at.Offset
	}
	return nil
}

// read looks at everything from an offset up to the end.
func (l *lastReader) read(ctx context.Context, from int64) (last *publisher.TailRecord, err error) {
	for at := from; at < l.end; {
		records, next, err := l.fetch(ctx, at)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read topic %s up to its end: %w", l.topic,
				publisher.NewError(publisher.ClassTimedOut, "a transaction before it is still open, or the brokers do not answer"))
		}
		if err != nil {
			if !kerr.IsRetriable(err) && asError(err).Class() != publisher.ClassTransport {
				return nil, fmt.Errorf("read topic %s: %w", l.topic, asError(err))
			}
			if err := l.locate(ctx); err != nil { // another broker may lead the partition now
				return nil, err
			}
			select {
			case <-ctx.Done():
			case <-time.After(betweenLeaders):
			}
			continue
		}
		for _, r := range records {
			if bytes.Equal(r.Key, l.key) && r.Offset < l.end {
				record := tailRecord(r)
				last = &record
			}
		}
		if next == at && mutant.On("franz-progress-not-to-the-end") {
			return last, nil
		}
		at = next
	}
	return last, nil
}

// fetch asks once, and gives the committed records and where the next ones would be.
func (l *lastReader) fetch(ctx context.Context, from int64) ([]*kgo.Record, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = int32(fetchWait/time.Millisecond), 1, fetchBytes
	request.IsolationLevel = 1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = l.topic, l.id
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition, partition.FetchOffset, partition.PartitionMaxBytes = l.partition, from, fetchBytes
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	answer, err := l.client.Broker(int(l.leader)).RetriableRequest(ctx, request)
	if err != nil {
		return nil, from, err
	}
	response := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
		return nil, from, err
	}
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return nil, from, publisher.NewError(publisher.ClassUnknown, "an answer about another partition")
	}
	found, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Topic: l.topic, Partition: l.partition, Offset: from, IsolationLevel: kgo.ReadCommitted(),
	}, &response.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	return found.Records, next, found.Err
}
