//go:build cgo

package librdkafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
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
		return nil, fmt.Errorf("configure the Kafka client: %w", err)
	}
	voice := newVoice(cfg, settings)
	client, err := kafka.NewAdminClient(&settings)
	if err != nil {
		return nil, fmt.Errorf("configure the Kafka client: %s", voice.Clean(err.Error()))
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
	result := make([]publisher.TopicDescription, len(names))
	var asked []string
	for i, name := range names {
		result[i] = publisher.TopicDescription{Name: name}
		if publisher.LegalTopic(name) {
			asked = append(asked, name)
		} else {
			result[i].Err = publisher.NewError(publisher.ClassInvalidTopic, "not a name that Kafka takes")
		}
	}
	if len(asked) == 0 {
		return result, nil
	}
	found, err := describe(ctx, a.client, asked)
	if err != nil {
		return nil, err
	}
	for i := range result {
		if d, ok := found[result[i].Name]; ok {
			result[i] = d.forCheck()
		}
	}
	return result, nil
}

func (d description) forCheck() publisher.TopicDescription {
	t := publisher.TopicDescription{
		Name: d.name, Partitions: int32(len(d.partitions)), Err: d.err, Rights: d.rights,
		ConfigKnown: d.config != nil, CleanupPolicy: d.config["cleanup.policy"],
		UncleanLeaderElection: d.config["unclean.leader.election.enable"] == "true",
	}
	t.MinInSyncReplicas, _ = strconv.Atoi(d.config["min.insync.replicas"])
	t.MaxMessageBytes, _ = strconv.Atoi(d.config["max.message.bytes"])
	for i, p := range d.partitions {
		if i == 0 || len(p.Replicas) < t.ReplicationFactor {
			t.ReplicationFactor = len(p.Replicas)
		}
		if i == 0 || len(p.Isr) < t.InSyncReplicas {
			t.InSyncReplicas = len(p.Isr)
		}
	}
	return t
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
		if !publisher.LegalTopic(s.Name) {
			return nil, fmt.Errorf("create topic %q: %w", s.Name,
				publisher.NewError(publisher.ClassInvalidTopic, "not a name that Kafka takes"))
		}
		wanted[i] = kafka.TopicSpecification{
			Topic: s.Name, NumPartitions: orDefault(s.Partitions), ReplicationFactor: orDefault(s.ReplicationFactor),
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
	return created, errors.Join(append(failed, a.awaitTopics(ctx, created))...)
}

// awaitTopics asks until the topics are known. Whoever asked sooner would take them for missing.
func (a *Admin) awaitTopics(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	for {
		found, err := describe(ctx, a.client, names)
		if err != nil {
			return fmt.Errorf("wait for created topics: %w", err)
		}
		unknown := 0
		for _, d := range found {
			if publisher.Class(d.err) == publisher.ClassNoTopic || publisher.Class(d.err) == publisher.ClassUnavailable {
				unknown++
			}
		}
		if unknown == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for created topics: %d of %d are not known yet: %w", unknown, len(names), ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// orDefault is -1, "the cluster's default", for 0.
func orDefault(n int) int {
	if n == 0 {
		return -1
	}
	return n
}
