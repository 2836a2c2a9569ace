//go:build cgo

package librdkafka

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

// benchInFlight is what is unacked at most: more is slower, for want of cache.
const benchInFlight = 5000

func sink(tb testing.TB) []string {
	tb.Helper()
	fake := contract.StartFake(tb, kfake.BlackholeProduce(), kfake.SeedTopics(4, "events"))
	return fake.ListenAddrs()
}

func event() publisher.Record {
	return publisher.Record{
		Topic: "events", Partition: publisher.AnyPartition, Key: []byte("order-4711"), Value: bytes.Repeat([]byte("x"), 300),
		Headers: []publisher.Header{
			{Key: "id", Value: []byte("0192f0c1-2d3e-7abc-8def-0123456789ab")}, {Key: "type", Value: []byte("OrderPlaced")},
			{Key: "created_at", Value: []byte("2026-01-02T03:04:05.678901Z")},
		},
	}
}

// tickets is a Reports that tells of each ack; a failure would leave the caller waiting for ever, so it panics.
type tickets chan struct{}

func (t tickets) Acked(any, int32, int64) { t <- struct{}{} }
func (t tickets) Failed(_ any, err error) { panic(err) }

// sendMany sends n records through a Producer, and waits for all acks.
func sendMany(tb testing.TB, p *Producer, acked <-chan struct{}, n int) {
	r, tag := event(), new(int)
	unacked := 0
	for range n {
		for ; unacked >= benchInFlight; unacked-- {
			<-acked
		}
		if err := p.Send(tb.Context(), &r, tag); err != nil {
			tb.Fatal(err)
		}
		unacked++
	}
	for ; unacked > 0; unacked-- {
		<-acked
	}
}

func openProducer(tb testing.TB, brokers []string) (*Producer, <-chan struct{}) {
	tb.Helper()
	acked := make(tickets, 2*benchInFlight)
	p, err := Open(contract.Config(tb, brokers), acked)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p, acked
}

// produceMany does the same through the binding (docs/decisions/0011-librdkafka-without-the-binding.md).
func produceMany(tb testing.TB, client *kafka.Producer, acked <-chan struct{}, n int) {
	r, tag, topic := event(), new(int), "events"
	headers := make([]kafka.Header, len(r.Headers))
	for i, h := range r.Headers {
		headers[i] = kafka.Header{Key: h.Key, Value: h.Value}
	}
	m := kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: publisher.Partition(r.Key, 4)},
		Key:            r.Key, Value: r.Value, Headers: headers, Opaque: tag,
	}
	unacked := 0
	for range n {
		for ; unacked >= benchInFlight; unacked-- {
			<-acked
		}
		if err := client.Produce(&m, nil); err != nil {
			tb.Fatal(err)
		}
		unacked++
	}
	for ; unacked > 0; unacked-- {
		<-acked
	}
}

func openBinding(tb testing.TB, brokers []string) (*kafka.Producer, <-chan struct{}) {
	tb.Helper()
	settings, err := producerSettings(contract.Config(tb, brokers))
	if err != nil {
		tb.Fatal(err)
	}
	settings["go.delivery.report.fields"], settings["go.events.channel.size"] = "none", 1024
	client, err := kafka.NewProducer(&settings)
	if err != nil {
		tb.Fatal(err)
	}
	acked := make(chan struct{}, 2*benchInFlight)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range client.Events() {
			if _, ok := e.(*kafka.Message); ok {
				acked <- struct{}{}
			}
		}
	}()
	tb.Cleanup(func() { client.Close(); <-done })
	return client, acked
}

func BenchmarkSend(b *testing.B) {
	p, acked := openProducer(b, sink(b))
	sendMany(b, p, acked, benchInFlight)
	b.ReportAllocs()
	b.ResetTimer()
	sendMany(b, p, acked, b.N)
}

func BenchmarkBinding(b *testing.B) {
	client, acked := openBinding(b, sink(b))
	produceMany(b, client, acked, benchInFlight)
	b.ReportAllocs()
	b.ResetTimer()
	produceMany(b, client, acked, b.N)
}

func TestSend_AllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	const events = 20_000
	p, acked := openProducer(t, sink(t))
	sendMany(t, p, acked, benchInFlight)
	// The fake broker allocates in this process too, by request: that is the noise.
	if ours := mallocs(func() { sendMany(t, p, acked, events) }) / events; ours > 0.5 {
		t.Errorf("%.2f allocations an event", ours)
	}
}

func mallocs(f func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs - before.Mallocs)
}
