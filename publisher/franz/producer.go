package franz

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/lanes"
)

const (
	// closePatience bounds the wait for the reports of records that were given up. They come within milliseconds.
	closePatience = 5 * time.Second
	// learnWithin bounds the wait until franz-go knows a topic's new partitions.
	learnWithin = time.Second
	// largeRecord is where franz-go's own limit is looked at, which smaller ones cannot reach.
	largeRecord = 500_000
)

// Producer is a publisher.Producer on franz-go. Open makes one.
type Producer struct {
	client *kgo.Client
	log    *slog.Logger
	gate   *gate
	topics *lanes.Topics
	lanes  *lanes.Lanes
	desk   *desk

	linger  time.Duration // 0: nothing is kept back, and there is nothing to flush
	flusher *lanes.Flusher

	limits sync.Map // topic → int32, its largest batch; written by the watcher of topics, read by franz-go
	shelf  shelf
	names  names // owned by the goroutine that calls Send

	mu   sync.Mutex // guards err
	err  error
	dead chan struct{}

	closeOnce sync.Once
	helpers   sync.WaitGroup
}

var _ publisher.Producer = (*Producer)(nil)

// Open starts a producer. It does not wait for the cluster: ask Ping before. Reports get every outcome from one
// goroutine, until Close returns. The error tells what franz-go does not take of the configuration.
func Open(cfg publisher.Config, reports publisher.Reports) (*Producer, error) {
	p := &Producer{log: cfg.Log, gate: newGate(), dead: make(chan struct{})}
	var err error
	p.client, err = newClient(cfg, p.gate, p.batchFailed, func(t publisher.Tuning) ([]kgo.Opt, error) {
		p.linger = lingerOf(t)
		return producerOptions(cfg, t, p.limitOf)
	})
	if err != nil {
		return nil, misconfigured(err)
	}
	compressed := cfg.Compression != "none"
	p.topics = lanes.WatchTopics(p.describe(compressed), p.learn)
	p.flusher = lanes.NewFlusher(p.flush)
	p.lanes = lanes.New(lanes.Options{Topics: p.topics, Dead: p.dead, Err: p.Err, Compressed: compressed,
		Window: window(compressed), Outgrown: p.outgrown(compressed), Flush: p.Flush, Timeout: cfg.MessageTimeout, Log: cfg.Log})
	p.desk = newDesk(reports, p.lanes, &p.shelf)
	p.helpers.Go(p.desk.work)
	p.helpers.Go(func() {
		p.lanes.WatchDeadlines(func() {
			p.die(publisher.NewError(publisher.ClassTimedOut, "no ack within the message timeout"))
		})
	})
	return p, nil
}

// Trust says until when the producer may write. Later nothing is written, however long it has been waiting, until a
// new call says otherwise; a producer that was never told may always write. Safe from any goroutine.
func (p *Producer) Trust(until time.Time) { p.gate.trust(until) }

// Send hands one record over; see publisher.Producer. For one goroutine.
func (p *Producer) Send(ctx context.Context, r *publisher.Record, tag any) error {
	l, err := p.lanes.Enter(ctx, r)
	if err != nil {
		return err
	}
	if len(r.Key)+len(r.Value) > largeRecord && r.BatchSize()+batchRoom > int(p.limitOf(*l.Topic())) {
		return publisher.NewError(publisher.ClassTooLarge, "larger than this client takes for the topic")
	}
	select {
	case <-p.dead: // what slips in after this look meets a gate that is shut
		return p.Err()
	default:
	}
	on := p.shelf.take()
	on.fill(r, l, tag, &p.names)
	p.lanes.Sent(l)
	p.client.TryProduce(context.Background(), &on.record, p.decided)
	return nil
}

// Flush has franz-go send now what it keeps for company; see publisher.Producer.
func (p *Producer) Flush() {
	if p.linger > 0 && p.lanes.InFlight() > 0 {
		p.flusher.Ask()
	}
}

// flush ends every linger until all is acked, or for as long as one lasts.
func (p *Producer) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), p.linger)
	defer cancel()
	_ = p.client.Flush(ctx) // that not all was acked in time is nothing to tell
}

// decided is franz-go's promise: it is called once for each record, one at a time. It must not wait for anybody, so that
// the next failure is heard at once.
func (p *Producer) decided(r *kgo.Record, err error) {
	on := r.Context.(*slot)
	if on.err = verdict(r, err); on.err != nil {
		p.die(on.err) // first, so that nothing is handed over between
	}
	p.desk.put(on)
}

// verdict is nil for a record that Kafka stored and said where.
func verdict(r *kgo.Record, err error) *publisher.Error {
	if err != nil {
		return asError(err)
	}
	if r.Offset < 0 && !mutant.On("franz-ack-without-offset") {
		return publisher.NewError(publisher.ClassNoOffset,
			"the broker said success and no offset, which proves nothing")
	}
	return nil
}

// batchFailed is told by franz-go, under the partition's lock, that a batch has failed for good.
func (p *Producer) batchFailed(err error) {
	if !mutant.On("franz-hears-of-failures-late") {
		p.die(asError(err))
	}
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

// die ends the producer: the gate is shut before anything else, and what franz-go holds is given up. Only the first
// call's reason counts. It calls nothing of franz-go's itself: the caller may hold its locks.
func (p *Producer) die(why *publisher.Error) {
	p.gate.shut.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	p.err = why.Ends()
	close(p.dead)
	p.helpers.Go(p.client.Close)
}

// Close drops what is not yet reported and frees the client; see publisher.Producer. Safe twice; a second call waits
// for the first.
func (p *Producer) Close() {
	p.closeOnce.Do(func() {
		p.die(publisher.NewError(publisher.ClassClosed, "the producer was closed"))
		p.topics.Stop()
		p.flusher.Stop()
		select {
		case <-p.desk.close():
		case <-time.After(closePatience):
			p.log.Warn("records stay without a report", "records", p.InFlight(), "waited", closePatience)
			p.desk.abandon()
		}
		p.helpers.Wait()
	})
}

// describe asks about topics, and keeps their limits for franz-go, which asks for one when it meets a topic.
func (p *Producer) describe(compressed bool) lanes.Describe {
	return func(ctx context.Context, names []string) (map[string]lanes.Described, error) {
		found, err := describe(ctx, p.client, names)
		all := make(map[string]lanes.Described, len(found))
		for name, d := range found {
			all[name] = lanes.Described{Topic: d.topic(), Err: d.err}
			if d.err == nil {
				p.limits.Store(name, batchLimit(d.topic().MaxMessageBytes, compressed))
			}
		}
		return all, err
	}
}

// outgrown ends the producer where a topic has another limit: franz-go has asked for it once, when it met the topic.
// With compression the window keeps to the limit, and nothing has to be replaced.
func (p *Producer) outgrown(compressed bool) func(publisher.Topic) error {
	if compressed {
		return nil
	}
	return func(t publisher.Topic) error {
		p.log.Info("topic has another max.message.bytes: the Kafka producer is replaced", "topic", t.Name)
		p.die(publisher.NewError(publisher.ClassClosed, "a topic has another max.message.bytes: the producer is replaced"))
		return p.Err()
	}
}

// limitOf is franz-go's question about the largest batch of a topic, "" for any.
func (p *Producer) limitOf(topic string) int32 {
	if limit, ok := p.limits.Load(topic); ok {
		return limit.(int32)
	}
	return mostBatch
}

// learn makes franz-go ask for a topic that has changed, and says whether it knows all partitions: until it does, it
// refuses records for new ones.
func (p *Producer) learn(topic string, partitions int32) bool {
	ctx, cancel := context.WithTimeout(context.Background(), learnWithin)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if leader, _, _ := p.client.PartitionLeader(topic, 0); leader < 0 {
			return true // it has not met the topic yet, and asks when it does
		}
		if leader, _, _ := p.client.PartitionLeader(topic, partitions-1); leader >= 0 {
			return true
		}
		p.client.ForceMetadataRefresh()
		select {
		case <-again.C:
		case <-ctx.Done():
			return false
		case <-p.dead:
			return false
		}
	}
}
