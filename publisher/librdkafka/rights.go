//go:build cgo

package librdkafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/catalog"
)

// rightsOf reads what the cluster said: nil where it said nothing, and empty where its answer was 0.
func rightsOf(operations []kafka.ACLOperation) publisher.Rights {
	var r publisher.Rights
	for _, o := range operations {
		switch o {
		case kafka.ACLOperationAll:
			r |= publisher.MayRead | publisher.MayWrite | publisher.MayDescribe
		case kafka.ACLOperationRead:
			r |= publisher.MayRead
		case kafka.ACLOperationWrite:
			r |= publisher.MayWrite
		case kafka.ACLOperationDescribe:
			r |= publisher.MayDescribe
		}
	}
	return catalog.Disclosed(r)
}

// MayCreate asks whether a topic could be created, and creates nothing. publisher.Class of the error is forbidden where
// the right is missing.
func (a *Admin) MayCreate(ctx context.Context, spec publisher.TopicSpec) error {
	results, err := a.client.CreateTopics(ctx, []kafka.TopicSpecification{{
		Topic: spec.Name, NumPartitions: catalog.OrDefault(spec.Partitions), ReplicationFactor: catalog.OrDefault(spec.ReplicationFactor),
		Config: spec.Config,
	}}, kafka.SetAdminRequestTimeout(answerWithin), kafka.SetAdminValidateOnly(true))
	if err != nil {
		return fmt.Errorf("ask whether topic %s could be created: %w", spec.Name, notAnswered(err))
	}
	for _, r := range results {
		if code := r.Error.Code(); code != kafka.ErrNoError && code != kafka.ErrTopicAlreadyExists {
			return asError(r.Error).With(a.voice.Clean(r.Error.String()))
		}
	}
	return nil
}

// MayTransact asks whether a transactional id may be used, by using it: a producer that has it is thrown out, so give
// one that nobody has. It stays known to the cluster for a week, without a transaction. publisher.Class of the error
// is unauthorized where the right is missing.
func MayTransact(ctx context.Context, cfg publisher.Config, id string) error {
	settings := kafka.ConfigMap{"transactional.id": id, "transaction.timeout.ms": int(cfg.TransactionTimeout / time.Millisecond),
		"go.events.channel.size": eventBuffer, "go.produce.channel.size": 0}
	if err := connectionSettings(settings, cfg, ofConnections); err != nil {
		return misconfigured(err, nil)
	}
	voice := newVoice(cfg, settings)
	client, err := kafka.NewProducer(&settings)
	if err != nil {
		return misconfigured(err, voice)
	}
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		voice.follow(client.Logs())
	}()
	defer func() {
		client.Close()
		<-logged
	}()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := client.InitTransactions(ctx); err != nil {
		var theirs kafka.Error
		if errors.As(err, &theirs) {
			return asError(theirs).With(plainly(voice.Clean(theirs.String())))
		}
		return fmt.Errorf("use the transactional id %s: %w", id, err)
	}
	return nil
}
