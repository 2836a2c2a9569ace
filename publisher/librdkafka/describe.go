//go:build cgo

package librdkafka

import (
	"context"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/catalog"
	"github.com/outboxrelay/relay/publisher/internal/lanes"
)

// answerWithin bounds one question.
const answerWithin = 5 * time.Second

// description is what the cluster said of one topic.
type description struct {
	name       string
	partitions []kafka.TopicPartitionInfo
	config     map[string]string // nil where we may not read it
	rights     publisher.Rights
	err        error
}

// described is what the watcher of topics wants to know.
func described(found map[string]description) map[string]lanes.Described {
	all := make(map[string]lanes.Described, len(found))
	for name, d := range found {
		all[name] = lanes.Described{Topic: d.topic(), Err: d.err}
	}
	return all
}

// entry is the description without what only this client understands.
func (d description) entry() catalog.Entry {
	e := catalog.Entry{Name: d.name, Config: d.config, Rights: d.rights, Err: d.err}
	for _, p := range d.partitions {
		e.Partitions = append(e.Partitions, catalog.Partition{Replicas: len(p.Replicas), InSync: len(p.Isr)})
	}
	return e
}

func (d description) topic() publisher.Topic { return d.entry().Topic() }

// describe asks for topics and their configuration. The error says that the cluster could not be
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
		if d.Error.Code() == kafka.ErrNoError {
			one.rights = rightsOf(d.AuthorizedOperations)
		}
		switch {
		case d.Error.Code() != kafka.ErrNoError:
			one.err = publisher.FromCode(int(d.Error.Code()))
		case one.rights != 0 && one.rights&publisher.MayWrite == 0:
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
	configs, unread, err := catalog.Configs(func(ctx context.Context, names []string) (map[string]catalog.Config, error) {
		return topicConfigs(ctx, admin, names)
	}).Read(ctx, usable)
	if err != nil {
		return nil, err
	}
	for _, name := range usable {
		d := found[name]
		d.config, d.err = configs[name], unread[name]
		found[name] = d
	}
	return found, nil
}

// topicConfigs asks once for the topics' configuration.
func topicConfigs(ctx context.Context, admin *kafka.AdminClient, names []string) (map[string]catalog.Config, error) {
	resources := make([]kafka.ConfigResource, len(names))
	for i, name := range names {
		resources[i] = kafka.ConfigResource{Type: kafka.ResourceTopic, Name: name}
	}
	results, err := admin.DescribeConfigs(ctx, resources, kafka.SetAdminRequestTimeout(answerWithin))
	if err != nil {
		return nil, fmt.Errorf("ask the cluster for the configuration of topics: %w", notAnswered(err))
	}
	answers := map[string]catalog.Config{}
	for _, r := range results {
		values := map[string]string{}
		for _, entry := range r.Config {
			values[entry.Name] = entry.Value
		}
		answers[r.Name] = catalog.Config{Values: values, Code: int(r.Error.Code())}
	}
	return answers, nil
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
