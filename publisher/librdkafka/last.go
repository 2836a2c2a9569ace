//go:build cgo

package librdkafka

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/publisher"
)

// lookBack is how many offsets before the end Last begins to look; each time in vain it looks sixteen times as far.
const lookBack = 500

// Last is the newest committed record of a key, nil when the topic has none. The key's partition is the one that
// murmur2 gives. It has read the partition up to the end that it had when Last was called, or it fails: "not found" is
// never "could not read". Transactions of others that are open before that end are waited for, within ctx.
func Last(ctx context.Context, cfg publisher.Config, topic string, key []byte) (*publisher.TailRecord, error) {
	settings := kafka.ConfigMap{
		"group.id":                 "relay-last", // the library wants one; it is never joined
		"enable.auto.commit":       false,
		"enable.auto.offset.store": false,
		"isolation.level":          "read_committed",
		"enable.partition.eof":     true,
		"auto.offset.reset":        "error",
		"allow.auto.create.topics": false,
		"fetch.wait.max.ms":        20, // the end is what we wait for
		"fetch.error.backoff.ms":   20,
	}
	consumer, voice, end, err := openConsumer(cfg, settings)
	if err != nil {
		return nil, err
	}
	defer end()
	l := &lastReader{consumer: consumer, voice: voice, key: key}
	if err := l.locate(ctx, topic); err != nil {
		return nil, err
	}
	return l.find(ctx)
}

// lastReader reads one partition backwards in steps.
type lastReader struct {
	consumer   *kafka.Consumer
	voice      *voice
	key        []byte
	where      kafka.TopicPartition
	start, end int64 // of the partition
}

// locate finds the key's partition and its bounds. The end is that of all records: the end of the committed ones would
// hide ours behind another's open transaction.
func (l *lastReader) locate(ctx context.Context, topic string) error {
	admin, err := kafka.NewAdminClientFromConsumer(l.consumer)
	if err != nil {
		return fmt.Errorf("read topic %s: %w", topic, err)
	}
	found, err := admin.DescribeTopics(ctx, kafka.NewTopicCollectionOfTopicNames([]string{topic}),
		kafka.SetAdminRequestTimeout(answerWithin))
	if err != nil {
		return fmt.Errorf("read topic %s: %w", topic, notAnswered(err))
	}
	switch d := found.TopicDescriptions[0]; {
	case d.Error.Code() != kafka.ErrNoError:
		return fmt.Errorf("read topic %s: %w", topic, asError(d.Error))
	case len(d.Partitions) == 0: // just made
		return fmt.Errorf("read topic %s: %w", topic, publisher.FromCode(int(kafka.ErrLeaderNotAvailable)))
	}
	l.where = kafka.TopicPartition{Topic: &topic,
		Partition: publisher.Partition(l.key, int32(len(found.TopicDescriptions[0].Partitions)))}
	if l.start, err = l.bound(ctx, admin, kafka.EarliestOffsetSpec); err != nil {
		return err
	}
	l.end, err = l.bound(ctx, admin, kafka.LatestOffsetSpec)
	return err
}

func (l *lastReader) bound(ctx context.Context, admin *kafka.AdminClient, which kafka.OffsetSpec) (int64, error) {
	result, err := admin.ListOffsets(ctx, map[kafka.TopicPartition]kafka.OffsetSpec{l.where: which},
		kafka.SetAdminRequestTimeout(answerWithin), kafka.SetAdminIsolationLevel(kafka.IsolationLevelReadUncommitted))
	if err != nil {
		return 0, fmt.Errorf("ask for the end of topic %s: %w", *l.where.Topic, notAnswered(err))
	}
	for _, info := range result.ResultInfos {
		if info.Error.Code() != kafka.ErrNoError {
			return 0, fmt.Errorf("ask for the end of topic %s: %w", *l.where.Topic, asError(info.Error))
		}
		return int64(info.Offset), nil
	}
	return 0, fmt.Errorf("ask for the end of topic %s: no answer", *l.where.Topic)
}

func (l *lastReader) find(ctx context.Context) (*publisher.TailRecord, error) {
	for distance := int64(lookBack); ; distance *= 16 {
		from := max(l.start, l.end-distance)
		found, err := l.read(ctx, from)
		if found != nil || err != nil || from == l.start {
			return found, err
		}
	}
}

// read looks at everything from an offset up to the end.
func (l *lastReader) read(ctx context.Context, from int64) (last *publisher.TailRecord, err error) {
	if from >= l.end {
		return nil, nil
	}
	at := l.where
	at.Offset = kafka.Offset(from)
	if err := l.consumer.Assign([]kafka.TopicPartition{at}); err != nil {
		return nil, fmt.Errorf("read topic %s: %w", *at.Topic, asError(err))
	}
	for ctx.Err() == nil {
		next := int64(-1)
		switch e := l.consumer.Poll(int(tailStep / time.Millisecond)).(type) {
		case *kafka.Message:
			if e.TopicPartition.Error != nil {
				return nil, fmt.Errorf("read topic %s: %w", *at.Topic, asError(e.TopicPartition.Error))
			}
			if bytes.Equal(e.Key, l.key) {
				record := tailRecord(e)
				last = &record
			}
			next = int64(e.TopicPartition.Offset) + 1
		case kafka.PartitionEOF:
			next = int64(e.Offset)
			if mutant.On("progress-not-to-the-end") {
				return last, nil
			}
		case kafka.Error:
			if err := asError(e).With(l.voice.Clean(e.String())); e.IsFatal() ||
				err.Class() == publisher.ClassAuthentication || publisher.TopicTrouble(err) {
				return nil, fmt.Errorf("read topic %s: %w", *at.Topic, err)
			}
		}
		if next >= l.end {
			return last, nil
		}
	}
	return nil, fmt.Errorf("read topic %s up to its end: %w", *at.Topic,
		publisher.NewError(publisher.ClassTimedOut, "a transaction before it is still open, or the brokers do not answer"))
}
