package rig

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// recordsARequest is how many records go through Kafka in bulk, when it is warmed, for one that goes alone; and
// lonely is how many of those are under way at a time.
const (
	recordsARequest = 100
	lonely          = 4
)

// warm has the broker compile what it runs: a cold one adds tens of milliseconds to a record and halves the rate. What
// it runs for a record that comes alone, to a consumer that waits, is not what it runs for many: a broker that has only
// met the one is cold for the other.
func (r *Rig) warm(ctx context.Context, records int) error {
	if records == 0 {
		return nil
	}
	alone := records / recordsARequest
	r.Settings["kafka warmed with"] = fmt.Sprintf("%d records, %d one by one", records+alone, alone)
	r.Logf("warming Kafka with %s", r.Settings["kafka warmed with"])
	topic, err := r.Topic(ctx, 4)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(r.Kafka.Brokers()...), kgo.DefaultProduceTopic(topic),
		kgo.ConsumeTopics(topic), kgo.ProducerLinger(time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	err = warmInBulk(ctx, client, records)
	if err == nil {
		err = warmAlone(ctx, client, alone)
	}
	if err != nil {
		return fmt.Errorf("warm Kafka: %w", err)
	}
	return r.drop(ctx, topic)
}

func warmInBulk(ctx context.Context, client *kgo.Client, records int) error {
	value := make([]byte, 300)
	var failed atomic.Pointer[error]
	for range records {
		client.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return readThem(ctx, client, records)
}

// warmAlone sends records one a request, while they are read.
func warmAlone(ctx context.Context, reader *kgo.Client, records int) error {
	topic := reader.OptValue(kgo.DefaultProduceTopic).(string)
	client, err := kgo.NewClient(kgo.SeedBrokers(reader.OptValue(kgo.SeedBrokers).([]string)...),
		kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0))
	if err != nil {
		return err
	}
	defer client.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return readThem(ctx, reader, records) })
	value := make([]byte, 300)
	for n := range lonely {
		group.Go(func() error {
			for i := n; i < records; i += lonely {
				if err := client.ProduceSync(ctx, &kgo.Record{Key: []byte(strconv.Itoa(i)), Value: value}).FirstErr(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func readThem(ctx context.Context, client *kgo.Client, records int) error {
	for read := 0; read < records; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		read += fetches.NumRecords()
	}
	return nil
}
