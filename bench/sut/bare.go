package sut

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var errNoCgo = errors.New("this build has no librdkafka: build with a C compiler and CGO_ENABLED=1")

// RunBare sends a load from memory by one of the clients, and returns when all is acked.
func RunBare(ctx context.Context, client string, brokers []string, topic string, l Load) error {
	switch client {
	case "librdkafka":
		return bareLibrdkafka(ctx, brokers, topic, l)
	case "franz-go":
		return bareFranz(ctx, brokers, topic, l)
	}
	return fmt.Errorf("client %q: use librdkafka or franz-go", client)
}

// inFlight is how many records the relay lets be unacked.
const inFlight = 10_000

func bareFranz(ctx context.Context, brokers []string, topic string, l Load) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0), kgo.MaxBufferedRecords(inFlight), kgo.MaxBufferedBytes(32<<20))
	if err != nil {
		return err
	}
	defer client.Close()
	filler := l.Filler()
	event, created := "3f0e64d5-6c5b-4f5a-9c0e-2b8f3d1c7a55", time.Now().UTC().AppendFormat(nil, "2006-01-02T15:04:05.000000Z")
	headers := []kgo.RecordHeader{{Key: "id", Value: []byte(event)}, {Key: "type", Value: []byte("OrderPlaced")}, {Key: "created_at", Value: created}}
	var failed atomic.Pointer[error]
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.Store(&err)
		}
	}
	for n := range l.Events {
		client.Produce(ctx, &kgo.Record{Key: []byte(Key(n+1, l.Keys)), Value: Payload(nil, n+1, filler), Headers: headers}, done)
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
