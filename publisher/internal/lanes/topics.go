package lanes

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

const (
	// goodFor is how old an answer about a usable topic may grow: a new partition waits that long at most.
	goodFor = 30 * time.Second
	// troubleAtFirst is how old an answer about a topic in trouble may grow. It doubles with each such answer up to
	// troubleAtLast: a topic may be a moment old and on its way to this broker, or be missing for days.
	troubleAtFirst = 250 * time.Millisecond
	troubleAtLast  = 4 * time.Second
	// againAfter is the pause after a question the cluster did not answer.
	againAfter = time.Second
	// current is how old an answer may be that an event is called dead by: there may be thousands of them.
	current = 100 * time.Millisecond
	// forgotten is when a topic that nobody asks for and nobody sends to is no longer watched.
	forgotten = 10 * time.Minute
)

// Described is what the cluster said of one topic. An Err that is not topic trouble means that it could not say.
type Described struct {
	Topic publisher.Topic
	Err   error
}

// Describe asks the cluster about topics; the error says that it could not be asked. It bounds its own time.
type Describe func(ctx context.Context, names []string) (map[string]Described, error)

// Learn makes a client ask for a topic that it may believe to be missing, or to have fewer partitions; it says whether
// the client knows so many partitions now. The broker that it asks may be behind the one that told us.
type Learn func(name string, partitions int32) bool

// answer is what the cluster said of a topic. Immutable.
type answer struct {
	topic publisher.Topic
	err   error // topic trouble
	at    time.Time
	good  time.Duration // how old it may grow
}

// after is an answer of now that follows another, which may be nil.
func (a *answer) after(before *answer) *answer {
	switch {
	case a.err == nil:
		a.good = goodFor
	case before == nil || before.err == nil:
		a.good = troubleAtFirst
	default:
		a.good = min(2*before.good, troubleAtLast)
	}
	return a
}

func (a *answer) due(now time.Time) bool { return now.Sub(a.at) >= a.good }

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

// Topics asks the cluster about topics and keeps the answers fresh. One goroutine asks; all names that are due go
// into one question. Safe from many goroutines.
type Topics struct {
	describe Describe
	learn    Learn

	mu    sync.Mutex
	names map[string]*topic
	bell  chan struct{}

	cancel context.CancelFunc
	done   chan struct{}
}

// WatchTopics begins to watch. Stop ends it.
func WatchTopics(describe Describe, learn Learn) *Topics {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Topics{
		describe: describe, learn: learn,
		names: map[string]*topic{}, bell: make(chan struct{}, 1),
		cancel: cancel, done: make(chan struct{}),
	}
	go t.watch(ctx)
	return t
}

// Stop returns when nothing is asked any more.
func (t *Topics) Stop() {
	t.cancel()
	<-t.done
}

// keep is the watched topic, from now on for good; the caller has just asked for it.
func (t *Topics) keep(name string) *topic {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.names[name]
	n.sentTo = true
	return n
}

// Ask answers from what is known, and waits for the first answer about a name, or for dead.
func (t *Topics) Ask(ctx context.Context, name string, dead <-chan struct{}) (publisher.Topic, error) {
	if !publisher.LegalTopic(name) {
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
		return publisher.Topic{}, errDead
	}
	if a = n.latest.Load(); a != nil {
		return a.topic, a.err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return publisher.Topic{}, n.doubt
}

// Now is Ask, but waits for an answer that is of this moment.
func (t *Topics) Now(ctx context.Context, name string, dead <-chan struct{}) (publisher.Topic, error) {
	t.mu.Lock()
	n := t.names[name]
	if n == nil || n.latest.Load() == nil || time.Since(n.latest.Load().at) <= current {
		t.mu.Unlock()
		return t.Ask(ctx, name, dead)
	}
	n.wanted = time.Now()
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
		return publisher.Topic{}, errDead
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.doubt != nil {
		return publisher.Topic{}, n.doubt
	}
	a := n.latest.Load()
	return a.topic, a.err
}

func (t *Topics) wake() {
	select {
	case t.bell <- struct{}{}:
	default:
	}
}

func (t *Topics) watch(ctx context.Context) {
	defer close(t.done)
	next := time.NewTimer(againAfter)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.bell:
		case <-next.C:
		}
		answered := true
		if due := t.due(time.Now()); len(due) > 0 {
			answered = t.renew(ctx, due)
		}
		next.Reset(t.rest(answered))
	}
}

// rest is how long to wait for the next look at what is due: againAfter, or less where an answer is to be short-lived
// and the cluster answers at all.
func (t *Topics) rest(answered bool) time.Duration {
	rest := againAfter
	if !answered {
		return rest
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.names {
		if a := n.latest.Load(); a != nil {
			rest = min(rest, a.good)
		}
	}
	return rest
}

// due are the topics to ask for now.
func (t *Topics) due(now time.Time) []*topic {
	t.mu.Lock()
	defer t.mu.Unlock()
	var due []*topic
	for name, n := range t.names {
		a := n.latest.Load()
		switch {
		case now.Sub(n.wanted) > forgotten && !n.sentTo:
			delete(t.names, name)
		case n.asked != nil, a != nil && a.due(now):
			due = append(due, n)
		}
	}
	return due
}

var (
	errDead      = publisher.NewError(publisher.ClassClosed, "the producer is dead")
	errNotLearnt = publisher.NewError(publisher.ClassUnavailable, "the client does not know all partitions of the topic yet")
)

// errNotMentioned: an answer about other topics. A topic without partitions would make events wrong that are not.
var errNotMentioned = publisher.NewError(publisher.ClassUnavailable, "the brokers said nothing of the topic")

// renew asks for the topics, and says whether all were answered. What has no answer keeps the one it had.
func (t *Topics) renew(ctx context.Context, due []*topic) (answered bool) {
	names := make([]string, len(due))
	for i, n := range due {
		names[i] = n.name
	}
	described, err := t.describe(ctx, names)
	now := time.Now()
	answered = err == nil
	for _, n := range due {
		d, found := described[n.name]
		var doubt error
		switch before := n.latest.Load(); {
		case err != nil:
			doubt = err
		case !found:
			doubt, answered = errNotMentioned, false
		case d.Err != nil && !publisher.TopicTrouble(d.Err):
			doubt, answered = d.Err, false
		default:
			a := (&answer{topic: d.Topic, err: d.Err, at: now}).after(before)
			if changed(before, a) && !t.learn(n.name, d.Topic.Partitions) {
				doubt, answered = errNotLearnt, false // asked again after a second
				break
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
	return answered
}

// changed says whether the client may still believe something else: that the topic is not there, or has fewer
// partitions. librdkafka renews what it knows each five minutes only, and until then refuses what it does not know.
func changed(before, now *answer) bool {
	return before != nil && now.err == nil &&
		(before.err != nil || before.topic.Partitions != now.topic.Partitions)
}
