package franz

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/catalog"
)

// answerWithin bounds one question.
const answerWithin = 5 * time.Second

const (
	codeForbidden = 29
	codeNoLeader  = 5
)

// description is what the cluster said of one topic.
type description struct {
	name       string
	id         [16]byte
	partitions []kmsg.MetadataResponseTopicPartition
	config     map[string]string // nil where we may not read it
	rights     publisher.Rights
	err        error
}

// entry is the description without what only this client understands.
func (d description) entry() catalog.Entry {
	e := catalog.Entry{Name: d.name, Config: d.config, Rights: d.rights, Err: d.err}
	for _, p := range d.partitions {
		e.Partitions = append(e.Partitions, catalog.Partition{Replicas: len(p.Replicas), InSync: len(p.ISR)})
	}
	return e
}

func (d description) topic() publisher.Topic { return d.entry().Topic() }

// describe asks for topics and their configuration. The error says that the cluster could not be
// asked; what is wrong with a single topic stands in its description.
func describe(ctx context.Context, client *kgo.Client, names []string) (map[string]description, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	found, err := locate(ctx, client, names)
	if err != nil {
		return nil, fmt.Errorf("ask the cluster about topics: %w", notAnswered(err))
	}
	var usable []string
	for name, d := range found {
		if d.err == nil {
			usable = append(usable, name)
		}
	}
	if len(usable) == 0 {
		return found, nil
	}
	configs, unread, err := catalog.Configs(func(ctx context.Context, names []string) (map[string]catalog.Config, error) {
		return topicConfigs(ctx, client, names)
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
func topicConfigs(ctx context.Context, client *kgo.Client, names []string) (map[string]catalog.Config, error) {
	request := kmsg.NewPtrDescribeConfigsRequest()
	for _, name := range names {
		resource := kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, name
		request.Resources = append(request.Resources, resource)
	}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("ask the cluster for the configuration of topics: %w", notAnswered(err))
	}
	answers := map[string]catalog.Config{}
	for _, c := range response.Resources {
		values := map[string]string{}
		for _, entry := range c.Configs {
			if entry.Value != nil {
				values[entry.Name] = *entry.Value
			}
		}
		answers[c.ResourceName] = catalog.Config{Values: values, Code: int(c.ErrorCode)}
	}
	return answers, nil
}

// locate asks for topics without their configuration.
func locate(ctx context.Context, client *kgo.Client, names []string) (map[string]description, error) {
	request := kmsg.NewPtrMetadataRequest()
	request.AllowAutoTopicCreation = false
	request.IncludeTopicAuthorizedOperations = true
	request.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		request.Topics = append(request.Topics, topic)
	}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	found := map[string]description{}
	for i := range response.Topics {
		if t := &response.Topics[i]; t.Topic != nil {
			found[*t.Topic] = described(t)
		}
	}
	return found, nil
}

func described(t *kmsg.MetadataResponseTopic) description {
	d := description{name: *t.Topic, id: t.TopicID, partitions: t.Partitions}
	if t.ErrorCode == 0 {
		d.rights = rightsOf(t.AuthorizedOperations)
	}
	switch {
	case t.ErrorCode != 0:
		d.err = publisher.FromCode(int(t.ErrorCode))
	case d.rights != 0 && d.rights&publisher.MayWrite == 0:
		d.err = publisher.FromCode(codeForbidden)
	case len(t.Partitions) == 0:
		d.err = publisher.FromCode(codeNoLeader) // just made
	}
	return d
}

// rightsOf reads what the cluster said: one bit for each operation of Kafka's access rules, or a negative number where it
// said nothing.
func rightsOf(bits int32) publisher.Rights {
	if bits < 0 {
		return 0
	}
	var r publisher.Rights
	for operation, right := range map[kmsg.ACLOperation]publisher.Rights{
		kmsg.ACLOperationAll:      publisher.MayRead | publisher.MayWrite | publisher.MayDescribe,
		kmsg.ACLOperationRead:     publisher.MayRead,
		kmsg.ACLOperationWrite:    publisher.MayWrite,
		kmsg.ACLOperationDescribe: publisher.MayDescribe,
	} {
		if bits&(1<<operation) != 0 {
			r |= right
		}
	}
	return catalog.Disclosed(r)
}
