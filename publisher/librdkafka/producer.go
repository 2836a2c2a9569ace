//go:build cgo

package librdkafka

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
)

// closePatience bounds the wait for the reports of purged records. They come within milliseconds.
const closePatience = 5 * time.Second

// Producer is a publisher.Producer on librdkafka. Open makes one.
type Producer struct {
	client  *kafka.Producer
	reports publisher.Reports
	log     *slog.Logger
	voice   *voice
	topics  *topics

	started    time.Time
	ageStep    time.Duration
	compressed bool
	batchSize  int

	// Owned by the goroutine that calls Send.
	message kafka.Message
	headers []kafka.Header
	sending map[string]*sending
	last    *sending // the topic of the record before: the usual case

	lanes sync.Map // laneKey → *lane; written by Send, read by the reader

	stats    statistics
	inFlight atomic.Int64
	// waiting is set by Send before it looks at a condition for the last time; the reader then rings after each
	// change. Both are sequentially consistent, so no ring is lost.
	waiting atomic.Bool
	ring    chan struct{}

	mu   sync.Mutex // held over "not dead, so produce", and over dying
	err  error
	dead chan struct{}

	drained   chan struct{} // closed by the reader when the last report came after Close had begun
	closing   atomic.Bool
	drainOnce sync.Once
	closeOnce sync.Once
	readers   sync.WaitGroup
}

var _ publisher.Producer = (*Producer)(nil)

// Open starts a producer. It does not wait for the cluster: ask Ping before. Reports get every outcome from one
// goroutine, until Close returns. The error tells what librdkafka does not take of the configuration.
func Open(cfg publisher.Config, reports publisher.Reports) (*Producer, error) {
	if err := checkVersion(); err != nil {
		return nil, err
	}
	settings, err := producerSettings(cfg)
	if err != nil {
		return nil, fmt.Errorf("configure the Kafka producer: %w", err)
	}
	voice := newVoice(cfg, settings)
	batchSize, err := bytesOf(settings, "batch.size")
	if err != nil {
		return nil, err
	}
	client, err := kafka.NewProducer(&settings)
	if err != nil {
		return nil, fmt.Errorf("configure the Kafka producer: %s", voice.clean(err.Error()))
	}
	p := &Producer{
		client: client, reports: reports, log: cfg.Log, voice: voice,
		started: time.Now(), ageStep: cfg.MessageTimeout / stepsPerTimeout, compressed: cfg.Compression != "none", batchSize: batchSize,
		sending: map[string]*sending{},
		ring:    make(chan struct{}, 1),
		dead:    make(chan struct{}),
		drained: make(chan struct{}),
	}
	p.topics, err = watchTopics(client, cfg.Log)
	if err != nil {
		client.Close()
		return nil, err
	}
	p.readers.Go(p.read)
	p.readers.Go(func() { p.watchDeadlines(cfg.MessageTimeout) })
	p.readers.Go(func() { voice.follow(client.Logs()) }) // returns at once where lines are not wanted
	return p, nil
}

// Send hands one record over; see publisher.Producer. For one goroutine.
func (p *Producer) Send(ctx context.Context, r *publisher.Record, tag any) error {
	s, err := p.topicOf(ctx, r.Topic)
	if err != nil {
		return err
	}
	if err := s.accepts(r, p.compressed); err != nil {
		return err
	}
	partition := r.Partition
	if partition == publisher.AnyPartition {
		partition = s.pick(r.Key)
	}
	l := s.lanes[partition]
	if err := p.enter(ctx, l, s, r); err != nil {
		return err
	}
	return p.produce(s, l, r, partition, tag)
}

// produce gives the record to librdkafka, which copies it.
func (p *Producer) produce(s *sending, l *lane, r *publisher.Record, partition int32, tag any) error {
	m := &p.message
	m.TopicPartition.Topic = &s.name
	m.TopicPartition.Partition = partition
	m.Key, m.Value, m.Timestamp, m.Opaque = r.Key, r.Value, r.Timestamp, tag
	p.headers = p.headers[:0]
	for i := range r.Headers {
		p.headers = append(p.headers, kafka.Header{Key: r.Headers[i].Key, Value: r.Headers[i].Value})
	}
	m.Headers = p.headers

	// Counted before, because the report can be faster than the return of Produce.
	p.inFlight.Add(1)
	s.unacked.Add(1)
	l.ages.note(l.sent.Load(), time.Since(p.started), p.ageStep)
	l.sent.Add(1)
	p.mu.Lock()
	err := p.err
	if err == nil {
		err = p.client.Produce(m, nil)
	}
	p.mu.Unlock()
	if err == nil {
		return nil
	}
	l.sent.Add(-1)
	s.unacked.Add(-1)
	p.leave()
	return p.refused(err)
}

// refused is the meaning of an error of Produce.
func (p *Producer) refused(err error) error {
	refusal := asError(err)
	if publisher.Fatal(refusal) {
		p.die(refusal)
		return p.Err()
	}
	return refusal
}

// Topic is what the cluster says of a topic; see publisher.Producer.
func (p *Producer) Topic(ctx context.Context, name string) (publisher.Topic, error) {
	return p.topics.ask(ctx, name, p.dead)
}

// InFlight is the number of records sent and not yet reported.
func (p *Producer) InFlight() int { return int(p.inFlight.Load()) }

// Dead is closed when the producer can send no more.
func (p *Producer) Dead() <-chan struct{} { return p.dead }

// Err says why the producer is dead; nil while it is not. publisher.Fatal is true for it.
func (p *Producer) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// die ends the producer: no record is handed over any more, and what librdkafka has queued is dropped, so that
// nothing later passes what failed. What the broker has already is still reported by its own outcome. Only the first
// call counts.
func (p *Producer) die(why *publisher.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	p.err = why.Ends()
	close(p.dead)
	// Under the lock: Close, which frees the client, takes it too.
	_ = p.client.Purge(kafka.PurgeQueue | kafka.PurgeNonBlocking)
}

// Close drops what is not yet reported and frees the client; see publisher.Producer. Safe twice; a second call waits
// for the first.
func (p *Producer) Close() {
	p.closeOnce.Do(func() {
		p.die(publisher.NewError(publisher.ClassClosed, "the producer was closed"))
		p.closing.Store(true)
		if p.inFlight.Load() == 0 {
			p.drainOnce.Do(func() { close(p.drained) })
		} else if err := p.client.Purge(kafka.PurgeQueue | kafka.PurgeInFlight); err != nil {
			p.log.Warn("purge of the kafka producer did not work", "error", err)
		}
		select {
		case <-p.drained:
		case <-time.After(closePatience):
			p.log.Warn("records stay without a report", "records", p.InFlight(), "waited", closePatience)
		}
		p.topics.stop()
		p.mu.Lock()
		p.client.Close()
		p.mu.Unlock()
		p.readers.Wait()
	})
}
