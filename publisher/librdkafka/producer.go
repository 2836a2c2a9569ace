//go:build cgo

package librdkafka

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/lanes"
)

// closePatience bounds the wait for the reports of purged records. They come within milliseconds.
const closePatience = 5 * time.Second

// learnWithin bounds librdkafka's own question about a topic, which cannot be cut.
const learnWithin = time.Second

// Producer is a publisher.Producer on librdkafka. Open makes one.
type Producer struct {
	client  *kafka.Producer
	core    *core
	reports publisher.Reports
	log     *slog.Logger
	voice   *voice
	lines   bool // all log lines are forwarded, not only what nothing else tells
	topics  *lanes.Topics
	lanes   *lanes.Lanes
	flusher *lanes.Flusher

	// Owned by the goroutine that calls Send.
	handles []unsafe.Pointer          // of topics, by lane; nil where nothing was sent yet
	topicOf map[string]unsafe.Pointer // the same, by name

	tags [reportsAtOnce]any // owned by the reader

	mu      sync.Mutex // held over "not dead, so hand it over", and over dying
	flights flights
	err     error
	dead    chan struct{}

	stopped   atomic.Bool   // the reader ends when there is nothing more to take
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
		return nil, misconfigured(err, nil)
	}
	voice := newVoice(cfg, settings)
	batchSize, err := bytesOf(settings, "batch.size")
	if err != nil {
		return nil, misconfigured(err, nil)
	}
	client, err := kafka.NewProducer(&settings)
	if err != nil {
		return nil, misconfigured(err, voice)
	}
	core, err := takeOver(client)
	if err != nil {
		client.Close()
		return nil, err
	}
	p := &Producer{
		client: client, core: core, reports: reports, log: cfg.Log, voice: voice, lines: wantsLines(cfg), topicOf: map[string]unsafe.Pointer{},
		dead:    make(chan struct{}),
		drained: make(chan struct{}),
	}
	admin, err := kafka.NewAdminClientFromProducer(client)
	if err != nil {
		core.release()
		client.Close()
		return nil, fmt.Errorf("ask about topics: %w", err)
	}
	p.topics = lanes.WatchTopics(func(ctx context.Context, names []string) (map[string]lanes.Described, error) {
		found, err := describe(ctx, admin, names)
		return described(found), err
	}, p.learn)
	lingers := lingerOf(settings)
	p.flusher = lanes.NewFlusher(func() { core.flush(lingers) })
	p.lanes = lanes.New(lanes.Options{Topics: p.topics, Dead: p.dead, Err: p.Err, Compressed: cfg.Compression != "none",
		Window: batchSize, Flush: p.Flush, Timeout: cfg.MessageTimeout, Log: cfg.Log})
	core.readLogs()
	p.readers.Go(p.read)
	p.readers.Go(func() {
		p.lanes.WatchDeadlines(func() {
			p.die(publisher.NewError(publisher.ClassTimedOut, "no ack within the message timeout"))
		})
	})
	return p, nil
}

// Send hands one record over; see publisher.Producer. For one goroutine.
func (p *Producer) Send(ctx context.Context, r *publisher.Record, tag any) error {
	l, err := p.lanes.Enter(ctx, r)
	if err != nil {
		return err
	}
	return p.produce(l, r, tag)
}

// Flush has librdkafka send now what it keeps for company; see publisher.Producer.
func (p *Producer) Flush() {
	if p.lanes.InFlight() > 0 {
		p.flusher.Ask()
	}
}

// learn makes librdkafka ask for itself, and says whether it knows all partitions.
func (p *Producer) learn(topic string, partitions int32) bool {
	m, err := p.client.GetMetadata(&topic, false, int(learnWithin/time.Millisecond))
	return err == nil && len(m.Topics[topic].Partitions) >= int(partitions)
}

// produce gives the record to librdkafka, which copies it.
func (p *Producer) produce(l *lanes.Lane, r *publisher.Record, tag any) error {
	topic := p.handle(l)
	p.lanes.Sent(l)
	p.mu.Lock()
	err, code := p.err, 0
	if err == nil {
		label := p.flights.depart(tag, l.Number())
		if code = p.core.hand(topic, l.Partition(), r, label); code != 0 {
			p.flights.land(label)
		}
	}
	p.mu.Unlock()
	if err == nil && code == 0 {
		return nil
	}
	p.leave(p.lanes.Withdrawn(l))
	if err == nil {
		err = p.refused(publisher.FromCode(code))
	}
	return err
}

// handle is librdkafka's object for the lane's topic.
func (p *Producer) handle(l *lanes.Lane) unsafe.Pointer {
	n := int(l.Number())
	if n < len(p.handles) && p.handles[n] != nil {
		return p.handles[n]
	}
	topic := p.topicOf[*l.Topic()]
	if topic == nil {
		topic = p.core.topic(*l.Topic())
		p.topicOf[*l.Topic()] = topic
	}
	for n >= len(p.handles) {
		p.handles = append(p.handles, nil)
	}
	p.handles[n] = topic
	return topic
}

// refused is the meaning of an error of librdkafka's for a record.
func (p *Producer) refused(refusal *publisher.Error) error {
	if publisher.Fatal(refusal) {
		p.die(refusal)
		return p.Err()
	}
	return refusal
}

// Topic is what the cluster says of a topic; see publisher.Producer.
func (p *Producer) Topic(ctx context.Context, name string) (publisher.Topic, error) {
	return p.topics.Ask(ctx, name, p.dead)
}

// TopicNow is Topic, but asks the cluster unless it was asked a moment ago; see publisher.Producer.
func (p *Producer) TopicNow(ctx context.Context, name string) (publisher.Topic, error) {
	return p.topics.Now(ctx, name, p.dead)
}

// InFlight is the number of records sent and not yet reported.
func (p *Producer) InFlight() int { return p.lanes.InFlight() }

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
		if p.lanes.InFlight() == 0 {
			p.drainOnce.Do(func() { close(p.drained) })
		} else if err := p.client.Purge(kafka.PurgeQueue | kafka.PurgeInFlight); err != nil {
			p.log.Warn("purge of the kafka producer did not work", "error", err)
		}
		select {
		case <-p.drained:
		case <-time.After(closePatience):
			p.log.Warn("records stay without a report", "records", p.InFlight(), "waited", closePatience)
		}
		p.topics.Stop()
		p.flusher.Stop()
		p.stopped.Store(true)
		p.core.wake()
		p.readers.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, topic := range p.topicOf {
			p.core.forget(topic)
		}
		p.core.release()
		p.client.Close()
	})
}
