//go:build cgo

package librdkafka

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/catalog"
)

const (
	// tailStep bounds how long Tail notices that ctx is over.
	tailStep = 100 * time.Millisecond
	// tailLooks is how often Tail looks for partitions that were added.
	tailLooks = 3 * time.Second
)

// Tail reads topics without a consumer group, committed records only, and gives each to the function, in order
// within a partition. It ends with nil at the limit, else with the function's error, with ctx's, or with what makes
// reading impossible. Brokers that go away are waited for. Partitions that are added meanwhile are read from their
// beginning, a few seconds later.
func Tail(ctx context.Context, cfg publisher.Config, opts publisher.TailOptions, each func(publisher.TailRecord) error) error {
	settings := kafka.ConfigMap{
		"group.id":                 "relay-tail", // the library wants one; it is never joined
		"enable.auto.commit":       false,
		"enable.auto.offset.store": false,
		"isolation.level":          "read_committed",
		"auto.offset.reset":        "earliest", // when retention takes a position away
		"allow.auto.create.topics": false,
	}
	consumer, voice, end, err := openConsumer(cfg, settings)
	if err != nil {
		return err
	}
	defer end()
	admin, err := kafka.NewAdminClientFromConsumer(consumer)
	if err != nil {
		return fmt.Errorf("read %v: %w", opts.Topics, err)
	}
	positions, err := startAt(ctx, admin, opts)
	if err != nil {
		return err
	}
	if err := consumer.Assign(positions); err != nil {
		return fmt.Errorf("read %v: %w", opts.Topics, asError(err))
	}
	if opts.Started != nil {
		opts.Started()
	}
	added := make(chan []kafka.TopicPartition)
	looking, stop := context.WithCancel(ctx)
	var looker sync.WaitGroup
	looker.Go(func() { lookForPartitions(looking, admin, opts.Topics, positions, added) })
	defer looker.Wait() // before the consumer is freed, which it asks by
	defer stop()
	return follow(ctx, consumer, opts.Limit, added, voice, each)
}

// openConsumer starts a consumer; end frees it.
func openConsumer(cfg publisher.Config, settings kafka.ConfigMap) (consumer *kafka.Consumer, voice *voice, end func(), err error) {
	if err := connectionSettings(settings, cfg, ofConnections); err != nil {
		return nil, nil, nil, misconfigured(err, nil)
	}
	voice = newVoice(cfg, settings)
	if consumer, err = kafka.NewConsumer(&settings); err != nil {
		return nil, nil, nil, misconfigured(err, voice)
	}
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		voice.follow(consumer.Logs())
	}()
	return consumer, voice, func() {
		_ = consumer.Close()
		<-logged
	}, nil
}

// lookForPartitions tells of partitions that the topics have beside those that are read. What goes wrong with a look
// ends nothing: the next one sees them.
func lookForPartitions(ctx context.Context, admin *kafka.AdminClient, topics []string, read []kafka.TopicPartition, added chan<- []kafka.TopicPartition) {
	known := map[string]int{} // partitions are counted from 0, and none is ever taken away
	for _, tp := range read {
		known[*tp.Topic]++
	}
	next := time.NewTicker(tailLooks)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		found, err := partitionsOf(ctx, admin, topics)
		if err != nil {
			continue
		}
		var more []kafka.TopicPartition
		for _, tp := range found {
			// All that such a partition has came after the start.
			if tp.Offset = kafka.OffsetBeginning; int(tp.Partition) >= known[*tp.Topic] {
				more = append(more, tp)
			}
		}
		if more == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case added <- more:
		}
		for _, tp := range more {
			known[*tp.Topic]++
		}
	}
}

// follow reads until the limit.
func follow(ctx context.Context, consumer *kafka.Consumer, limit int, added <-chan []kafka.TopicPartition, voice *voice, each func(publisher.TailRecord) error) error {
	for n := 0; limit == 0 || n < limit; {
		if err := ctx.Err(); err != nil {
			return err
		}
		select {
		case partitions := <-added:
			if err := consumer.IncrementalAssign(partitions); err != nil {
				return fmt.Errorf("read partitions that were added: %w", asError(err))
			}
		default:
		}
		switch e := consumer.Poll(int(tailStep / time.Millisecond)).(type) {
		case *kafka.Message:
			if e.TopicPartition.Error != nil {
				return fmt.Errorf("read %s: %w", *e.TopicPartition.Topic, asError(e.TopicPartition.Error))
			}
			if err := each(tailRecord(e)); err != nil {
				return err
			}
			n++
		case kafka.Error:
			if err := asError(e).With(voice.Clean(e.String())); e.IsFatal() ||
				err.Class() == publisher.ClassAuthentication || publisher.TopicTrouble(err) {
				return fmt.Errorf("read: %w", err)
			}
		}
	}
	return nil
}

// partitionsOf are all partitions of the topics.
func partitionsOf(ctx context.Context, admin *kafka.AdminClient, topics []string) ([]kafka.TopicPartition, error) {
	found, err := admin.DescribeTopics(ctx, kafka.NewTopicCollectionOfTopicNames(topics),
		kafka.SetAdminRequestTimeout(answerWithin))
	if err != nil {
		return nil, fmt.Errorf("read %v: %w", topics, notAnswered(err))
	}
	var partitions []kafka.TopicPartition
	for _, t := range found.TopicDescriptions {
		if t.Error.Code() != kafka.ErrNoError {
			return nil, fmt.Errorf("read topic %s: %w", t.Name, asError(t.Error))
		}
		for _, p := range t.Partitions {
			partitions = append(partitions, kafka.TopicPartition{Topic: &t.Name, Partition: int32(p.Partition)})
		}
	}
	return partitions, nil
}

// startAt are all partitions of the topics with the offsets to begin at.
func startAt(ctx context.Context, admin *kafka.AdminClient, opts publisher.TailOptions) ([]kafka.TopicPartition, error) {
	for _, name := range opts.Topics {
		if err := catalog.Illegal(name); err != nil {
			return nil, fmt.Errorf("read topic %q: %w", name, err)
		}
	}
	found, err := partitionsOf(ctx, admin, opts.Topics)
	if err != nil {
		return nil, err
	}
	offset := kafka.LatestOffsetSpec
	if opts.FromBeginning {
		offset = kafka.EarliestOffsetSpec
	}
	wanted := map[kafka.TopicPartition]kafka.OffsetSpec{}
	for _, tp := range found {
		wanted[tp] = offset
	}
	// Fixed now and not at the first fetch, so that what is written after Started is seen.
	ends, err := admin.ListOffsets(ctx, wanted, kafka.SetAdminRequestTimeout(answerWithin))
	if err != nil {
		return nil, fmt.Errorf("ask for the ends of %v: %w", opts.Topics, notAnswered(err))
	}
	var positions []kafka.TopicPartition
	for tp, end := range ends.ResultInfos {
		if end.Error.Code() != kafka.ErrNoError {
			return nil, fmt.Errorf("ask for the end of %s[%d]: %w", *tp.Topic, tp.Partition, asError(end.Error))
		}
		positions = append(positions, kafka.TopicPartition{Topic: tp.Topic, Partition: tp.Partition, Offset: end.Offset})
	}
	return positions, nil
}

func tailRecord(m *kafka.Message) publisher.TailRecord {
	r := publisher.TailRecord{
		Topic: *m.TopicPartition.Topic, Partition: m.TopicPartition.Partition, Offset: int64(m.TopicPartition.Offset),
		Timestamp: m.Timestamp, Key: m.Key, Value: m.Value,
	}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, publisher.Header{Key: h.Key, Value: h.Value})
	}
	return r
}
