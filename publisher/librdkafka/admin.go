//go:build cgo

package librdkafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/catalog"
)

// Admin asks about a cluster and creates topics. OpenAdmin makes one. Safe from many goroutines.
type Admin struct {
	client *kafka.AdminClient
	voice  *voice
	logs   chan struct{} // closed when the last log line was forwarded
}

var _ publisher.Admin = (*Admin)(nil)

// OpenAdmin starts a client for questions. It does not wait for the cluster.
func OpenAdmin(cfg publisher.Config) (*Admin, error) {
	if err := checkVersion(); err != nil {
		return nil, err
	}
	settings := kafka.ConfigMap{}
	if err := connectionSettings(settings, cfg, ofConnections); err != nil {
		return nil, misconfigured(err, nil)
	}
	voice := newVoice(cfg, settings)
	client, err := kafka.NewAdminClient(&settings)
	if err != nil {
		return nil, misconfigured(err, voice)
	}
	a := &Admin{client: client, voice: voice, logs: make(chan struct{})}
	go func() {
		defer close(a.logs)
		voice.follow(client.Logs())
	}()
	return a, nil
}

// Close frees the client.
func (a *Admin) Close() {
	a.client.Close()
	<-a.logs
}

// Cluster asks the cluster for its id, brokers and controller.
func (a *Admin) Cluster(ctx context.Context) (publisher.Cluster, error) {
	d, err := a.client.DescribeCluster(ctx, kafka.SetAdminRequestTimeout(answerWithin))
	if err != nil {
		return publisher.Cluster{}, fmt.Errorf("ask the cluster about itself: %w", notAnswered(err))
	}
	c := publisher.Cluster{Brokers: len(d.Nodes), Controller: -1}
	if d.ClusterID != nil {
		c.ID = *d.ClusterID
	}
	if d.Controller != nil {
		c.Controller = int32(d.Controller.ID)
	}
	return c, nil
}

// Describe asks for topics, in the order of names. What is wrong with one topic stands in its Err.
func (a *Admin) Describe(ctx context.Context, names []string) ([]publisher.TopicDescription, error) {
	return catalog.Ask(a.ask).Describe(ctx, names)
}

// ask is describe for what both clients make of it.
func (a *Admin) ask(ctx context.Context, names []string) (map[string]catalog.Entry, error) {
	found, err := describe(ctx, a.client, names)
	entries := make(map[string]catalog.Entry, len(found))
	for name, d := range found {
		entries[name] = d.entry()
	}
	return entries, err
}

// CreateTopics creates those that are missing and leaves the others as they are. It returns when the brokers know the
// new ones, which takes a moment after the controller has said yes. created are the names that were not there. The
// error names each topic that could not be created.
func (a *Admin) CreateTopics(ctx context.Context, specs []publisher.TopicSpec) (created []string, err error) {
	if len(specs) == 0 {
		return nil, nil
	}
	wanted := make([]kafka.TopicSpecification, len(specs))
	for i, s := range specs {
		if err := catalog.Illegal(s.Name); err != nil {
			return nil, fmt.Errorf("create topic %q: %w", s.Name, err)
		}
		wanted[i] = kafka.TopicSpecification{
			Topic: s.Name, NumPartitions: catalog.OrDefault(s.Partitions), ReplicationFactor: catalog.OrDefault(s.ReplicationFactor),
			Config: s.Config,
		}
	}
	results, err := a.client.CreateTopics(ctx, wanted, kafka.SetAdminRequestTimeout(answerWithin),
		kafka.SetAdminOperationTimeout(answerWithin))
	if err != nil {
		return nil, fmt.Errorf("create topics: %w", notAnswered(err))
	}
	var failed []error
	for _, r := range results {
		switch r.Error.Code() {
		case kafka.ErrNoError:
			created = append(created, r.Topic)
		case kafka.ErrTopicAlreadyExists:
		default:
			failed = append(failed, fmt.Errorf("create topic %s: %w", r.Topic,
				asError(r.Error).With(a.voice.Clean(r.Error.String()))))
		}
	}
	return created, errors.Join(append(failed, a.await(ctx, created))...)
}

// await returns when the cluster knows the topics.
func (a *Admin) await(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return catalog.Ask(a.ask).Await(ctx, names)
}
