//go:build cgo

package librdkafka

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
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

// description is what the cluster said of one topic.
type description struct {
	name       string
	partitions []kafka.TopicPartitionInfo
	config     map[string]string // empty where we may not read it
	err        error
}

func (d description) topic() publisher.Topic {
	limit, err := strconv.Atoi(d.config["max.message.bytes"])
	if err != nil {
		limit = publisher.NoLimit
	}
	return publisher.Topic{
		Name: d.name, Partitions: int32(len(d.partitions)), MaxMessageBytes: limit,
		Compacted: strings.Contains(d.config["cleanup.policy"], "compact"),
	}
}

// describe asks for topics and their configuration in two requests. The error says that the cluster could not be
// asked; what is wrong with a single topic stands in its description.
func describe(ctx context.Context, admin *kafka.AdminClient, names []string) (map[string]description, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	result, err := admin.DescribeTopics(ctx, kafka.NewTopicCollectionOfTopicNames(names),
		kafka.SetAdminOptionIncludeAuthorizedOperations(true), kafka.SetAdminRequestTimeout(answerWithin))
	if err != nil {
		return nil, fmt.Errorf("ask the cluster about topics: %w", notAnswered(err))
	}
	found := map[string]description{}
	var usable []string
	for _, d := range result.TopicDescriptions {
		one := description{name: d.Name, partitions: d.Partitions}
		switch {
		case d.Error.Code() != kafka.ErrNoError:
			one.err = publisher.FromCode(int(d.Error.Code()))
		case !writable(d.AuthorizedOperations):
			one.err = publisher.FromCode(int(kafka.ErrTopicAuthorizationFailed))
		case len(d.Partitions) == 0:
			one.err = publisher.FromCode(int(kafka.ErrLeaderNotAvailable)) // just made
		default:
			usable = append(usable, d.Name)
		}
		found[d.Name] = one
	}
	if len(usable) == 0 {
		return found, nil
	}
	configs, err := topicConfigs(ctx, admin, usable)
	if err != nil {
		return nil, err
	}
	for name, config := range configs {
		d := found[name]
		d.config = config
		found[name] = d
	}
	return found, nil
}

// topicConfigs reads the topics' configuration; none for those that we may not read.
func topicConfigs(ctx context.Context, admin *kafka.AdminClient, names []string) (map[string]map[string]string, error) {
	resources := make([]kafka.ConfigResource, len(names))
	for i, name := range names {
		resources[i] = kafka.ConfigResource{Type: kafka.ResourceTopic, Name: name}
	}
	results, err := admin.DescribeConfigs(ctx, resources, kafka.SetAdminRequestTimeout(answerWithin))
	if err != nil {
		return nil, fmt.Errorf("ask the cluster for the configuration of topics: %w", notAnswered(err))
	}
	configs := map[string]map[string]string{}
	for _, r := range results {
		if r.Error.Code() != kafka.ErrNoError {
			continue
		}
		config := map[string]string{}
		for _, entry := range r.Config {
			config[entry.Name] = entry.Value
		}
		configs[r.Name] = config
	}
	return configs, nil
}

// notAnswered gives a failed question a class; one that took too long means that the brokers are away.
func notAnswered(err error) error {
	e := asError(err)
	switch e.Class() {
	case publisher.ClassTimedOut, publisher.ClassUnknown:
		return publisher.NewError(publisher.ClassTransport, "the brokers do not answer")
	}
	return e
}

// writable reads the operations we are allowed. A cluster that does not say (before 2.3) gives none.
func writable(operations []kafka.ACLOperation) bool {
	if operations == nil {
		return true
	}
	for _, o := range operations {
		if o == kafka.ACLOperationWrite || o == kafka.ACLOperationAll {
			return true
		}
	}
	return false
}

// legal is Kafka's rule for topic names. It also keeps zero bytes from becoming the end of a C string.
func legal(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 249 {
		return false
	}
	for _, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
