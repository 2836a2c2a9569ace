//go:build cgo

package librdkafka

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
)

const (
	// goodFor is how old an answer about a usable topic may grow: a new partition waits that long at most.
	goodFor = 30 * time.Second
	// troubleFor is short, so that a topic that appears is in use within ten seconds.
	troubleFor = 4 * time.Second
	// againAfter is the pause after a question the cluster did not answer.
	againAfter = time.Second
	// answerWithin bounds one question.
	answerWithin = 5 * time.Second
	// learnWithin bounds librdkafka's own question, which cannot be cut.
	learnWithin = time.Second
	// forgotten is when a topic that nobody asks for and nobody sends to is no longer watched.
	forgotten = 10 * time.Minute
)

// answer is what the cluster said of a topic. Immutable.
type answer struct {
	topic publisher.Topic
	err   error // topic trouble
	at    time.Time
}

func (a *answer) due(now time.Time) bool {
	if a.err != nil {
		return now.Sub(a.at) >= troubleFor
	}
	return now.Sub(a.at) >= goodFor
}

// topic is one watched name.
type topic struct {
	name   string
	latest atomic.Pointer[answer] // nil until the first answer; set by the watcher

	// Guarded by topics.mu.
	wanted time.Time     // when it was last asked for
	asked  chan struct{} // closed when the question that is under way is over
	doubt  error         // why that question had no answer
	sentTo bool          // Send holds it: it stays
}

// topics asks the cluster about topics and keeps the answers fresh. One goroutine asks; all names that are due go
// into one question.
type topics struct {
	client *kafka.Producer
	admin  *kafka.AdminClient
	log    *slog.Logger

	mu    sync.Mutex
	names map[string]*topic
	bell  chan struct{}

	cancel context.CancelFunc
	done   chan struct{}
}

func watchTopics(client *kafka.Producer, log *slog.Logger) (*topics, error) {
	admin, err := kafka.NewAdminClientFromProducer(client)
	if err != nil {
		return nil, fmt.Errorf("ask about topics: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &topics{
		client: client, admin: admin, log: log,
		names: map[string]*topic{}, bell: make(chan struct{}, 1),
		cancel: cancel, done: make(chan struct{}),
	}
	go t.watch(ctx)
	return t, nil
}

func (t *topics) stop() {
	t.cancel()
	<-t.done
}

// keep is the watched topic, from now on for good; the caller has just asked for it.
func (t *topics) keep(name string) *topic {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.names[name]
	n.sentTo = true
	return n
}

// ask answers from what is known, and waits for the first answer about a name.
func (t *topics) ask(ctx context.Context, name string, dead <-chan struct{}) (publisher.Topic, error) {
	if !legal(name) {
		return publisher.Topic{}, publisher.NewError(publisher.ClassInvalidTopic, "not a name that Kafka takes")
	}
	t.mu.Lock()
	n := t.names[name]
	if n == nil {
		n = &topic{name: strings.Clone(name)}
		t.names[n.name] = n
	}
	n.wanted = time.Now()
	a := n.latest.Load()
	if a != nil {
		t.mu.Unlock()
		return a.topic, a.err
	}
	if n.asked == nil {
		n.asked = make(chan struct{})
	}
	asked := n.asked
	t.mu.Unlock()
	t.wake()

	select {
	case <-asked:
	case <-ctx.Done():
		return publisher.Topic{}, ctx.Err()
	case <-dead:
		return publisher.Topic{}, publisher.NewError(publisher.ClassClosed, "the producer is dead")
	}
	if a = n.latest.Load(); a != nil {
		return a.topic, a.err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return publisher.Topic{}, n.doubt
}

func (t *topics) wake() {
	select {
	case t.bell <- struct{}{}:
	default:
	}
}

func (t *topics) watch(ctx context.Context) {
	defer close(t.done)
	tick := time.NewTicker(againAfter)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.bell:
		case <-tick.C:
		}
		if due := t.due(time.Now()); len(due) > 0 {
			t.renew(ctx, due)
		}
	}
}

// due are the topics to ask for now.
func (t *topics) due(now time.Time) []*topic {
	t.mu.Lock()
	defer t.mu.Unlock()
	var due []*topic
	for name, n := range t.names {
		a := n.latest.Load()
		switch {
		case now.Sub(n.wanted) > forgotten && !n.sentTo:
			delete(t.names, name)
		case a == nil && n.asked != nil, a != nil && a.due(now):
			due = append(due, n)
		}
	}
	return due
}

// renew asks for the topics. What has no answer keeps the one it had.
func (t *topics) renew(ctx context.Context, due []*topic) {
	names := make([]string, len(due))
	for i, n := range due {
		names[i] = n.name
	}
	described, err := describe(ctx, t.admin, names)
	now := time.Now()
	for _, n := range due {
		d := described[n.name]
		var doubt error
		switch before := n.latest.Load(); {
		case err != nil:
			doubt = err
		case d.err != nil && !publisher.TopicTrouble(d.err):
			doubt = d.err
		default:
			a := &answer{topic: d.topic(), err: d.err, at: now}
			if changed(before, a) && !t.learn(n.name) {
				continue // asked again after a second
			}
			n.latest.Store(a)
		}
		t.mu.Lock()
		n.doubt = doubt
		if n.asked != nil {
			close(n.asked)
			n.asked = nil
		}
		t.mu.Unlock()
	}
}

// changed says whether librdkafka may still believe something else: that the topic is not there, or has fewer
// partitions. It renews what it knows each five minutes only, and until then refuses what it does not know.
func changed(before, now *answer) bool {
	return before != nil && now.err == nil &&
		(before.err != nil || before.topic.Partitions != now.topic.Partitions)
}

// learn makes librdkafka ask for itself, and says whether it did.
func (t *topics) learn(name string) bool {
	_, err := t.client.GetMetadata(&name, false, int(learnWithin/time.Millisecond))
	return err == nil
}
