package franz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/catalog"
)

// Admin asks about a cluster and creates topics. OpenAdmin makes one. Safe from many goroutines.
type Admin struct {
	client *kgo.Client
	admin  *kadm.Client
}

var _ publisher.Admin = (*Admin)(nil)

// OpenAdmin starts a client for questions. It does not wait for the cluster.
func OpenAdmin(cfg publisher.Config) (*Admin, error) {
	client, err := newClient(cfg, newGate(), nil, noMore)
	if err != nil {
		return nil, misconfigured(err)
	}
	return &Admin{client, kadm.NewClient(client)}, nil
}

// Close frees the client.
func (a *Admin) Close() { a.client.Close() }

// Cluster asks the cluster for its id, brokers and controller.
func (a *Admin) Cluster(ctx context.Context) (publisher.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	m, err := a.admin.BrokerMetadata(ctx)
	if err != nil {
		return publisher.Cluster{}, fmt.Errorf("ask the cluster about itself: %w", notAnswered(err))
	}
	return publisher.Cluster{ID: m.Cluster, Brokers: len(m.Brokers), Controller: m.Controller, Version: a.version(ctx)}, nil
}

// version guesses from the requests that the brokers know: none of them says its version.
func (a *Admin) version(ctx context.Context) string {
	offers, err := a.admin.ApiVersions(ctx)
	if err != nil {
		return ""
	}
	var versions []string
	for _, broker := range offers.Sorted() {
		if broker.Err != nil {
			continue
		}
		guess := strings.ReplaceAll(broker.VersionGuess(), "v", "")
		if !slices.Contains(versions, guess) {
			versions = append(versions, guess)
		}
	}
	return strings.Join(versions, ", ")
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
	for _, s := range specs {
		if err := catalog.Illegal(s.Name); err != nil {
			return nil, fmt.Errorf("create topic %q: %w", s.Name, err)
		}
	}
	var failed []error
	for _, s := range specs {
		switch err := a.create(ctx, s, a.admin.CreateTopics); {
		case err == nil:
			created = append(created, s.Name)
		case !errors.Is(err, kerr.TopicAlreadyExists):
			failed = append(failed, fmt.Errorf("create topic %s: %w", s.Name, asError(err)))
		}
	}
	return created, errors.Join(append(failed, a.await(ctx, created))...)
}

// MayCreate asks whether a topic could be created, and creates nothing. publisher.Class of the error is forbidden where
// the right is missing.
func (a *Admin) MayCreate(ctx context.Context, spec publisher.TopicSpec) error {
	err := a.create(ctx, spec, a.admin.ValidateCreateTopics)
	if err == nil || errors.Is(err, kerr.TopicAlreadyExists) {
		return nil
	}
	if _, theirs := errors.AsType[*kerr.Error](err); theirs {
		return asError(err)
	}
	return fmt.Errorf("ask whether topic %s could be created: %w", spec.Name, notAnswered(err))
}

// create asks one question about one topic, with the cluster's words for why not.
func (a *Admin) create(ctx context.Context, s publisher.TopicSpec, ask func(context.Context, int32, int16, map[string]*string,
	...string) (kadm.CreateTopicResponses, error)) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	config := map[string]*string{}
	for name, value := range s.Config {
		config[name] = &value
	}
	answers, err := ask(ctx, int32(catalog.OrDefault(s.Partitions)), int16(catalog.OrDefault(s.ReplicationFactor)), config, s.Name)
	if err != nil {
		return notAnswered(err)
	}
	answer, err := answers.On(s.Name, nil)
	switch {
	case err != nil && answer.Err == nil:
		return publisher.NewError(publisher.ClassUnknown, "no answer about the topic")
	case answer.Err != nil && answer.ErrMessage != "" && !errors.Is(answer.Err, kerr.TopicAlreadyExists):
		return asError(answer.Err).With(answer.ErrMessage)
	}
	return answer.Err
}

// await returns when the cluster knows the topics.
func (a *Admin) await(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return catalog.Ask(a.ask).Await(ctx, names)
}
