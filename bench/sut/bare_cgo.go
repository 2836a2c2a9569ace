//go:build cgo

package sut

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	_ "github.com/outboxrelay/relay/publisher/librdkafka" // brings jemalloc where the relay has it
)

const haveLibrdkafka = true

func bareLibrdkafka(ctx context.Context, brokers []string, topic string, l Load) error {
	producer, err := kafka.NewProducer(&kafka.ConfigMap{
		"bootstrap.servers": strings.Join(brokers, ","), "enable.idempotence": true, "acks": "all", "max.in.flight": 5,
		"linger.ms": "1", "batch.size": "500000", "message.max.bytes": 100_000_000, "partitioner": "murmur2_random",
		"go.delivery.report.fields": "none", "go.events.channel.size": 1024, "go.produce.channel.size": 0,
		"queue.buffering.max.messages": inFlight, "queue.buffering.max.kbytes": 64 << 10,
	})
	if err != nil {
		return err
	}
	defer producer.Close()
	acked := make(chan error, 1)
	go func() { acked <- countAcks(producer.Events(), l.Events) }()
	filler := l.Filler()
	headers := []kafka.Header{
		{Key: "id", Value: []byte("3f0e64d5-6c5b-4f5a-9c0e-2b8f3d1c7a55")}, {Key: "type", Value: []byte("OrderPlaced")},
		{Key: "created_at", Value: time.Now().UTC().AppendFormat(nil, "2006-01-02T15:04:05.000000Z")},
	}
	message := kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: kafka.PartitionAny}, Headers: headers}
	for n := 1; n <= l.Events; n++ {
		message.Key, message.Value = []byte(Key(n, l.Keys)), Payload(message.Value[:0], n, filler)
		for err := producer.Produce(&message, nil); err != nil; err = producer.Produce(&message, nil) {
			var full kafka.Error
			if !errors.As(err, &full) || full.Code() != kafka.ErrQueueFull {
				return fmt.Errorf("produce: %w", err)
			}
			producer.Flush(1)
		}
	}
	select {
	case err := <-acked:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func countAcks(events <-chan kafka.Event, want int) error {
	for event := range events {
		switch e := event.(type) {
		case *kafka.Message:
			if e.TopicPartition.Error != nil {
				return fmt.Errorf("delivery: %w", e.TopicPartition.Error)
			}
			if want--; want == 0 {
				return nil
			}
		case kafka.Error:
			if e.IsFatal() {
				return e
			}
		}
	}
	return fmt.Errorf("%d records have no answer", want)
}
