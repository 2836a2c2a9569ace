package franz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/publisher"
)

// Ping says whether the cluster answers, within ctx. publisher.Class of the error is authentication where the brokers
// refuse us (asking again will not help), transport where they cannot be reached, configuration where franz-go does
// not take the configuration.
func Ping(ctx context.Context, cfg publisher.Config) error {
	client, err := newClient(cfg, newGate(), nil, endsWith(ctx))
	if err != nil {
		return misconfigured(err)
	}
	defer client.Close()
	last := publisher.NewError(publisher.ClassTransport, "no answer")
	for ctx.Err() == nil {
		err := ask(ctx, client)
		if err == nil {
			err = offersProducerIDs(ctx, client)
		}
		if err == nil {
			return nil
		}
		if now := asError(err); now.Class() != publisher.ClassTimedOut && now.Class() != publisher.ClassCut {
			last = now // and not that ctx is over
		}
		if last.Class() == publisher.ClassAuthentication || last.Class() == publisher.ClassConfiguration {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("reach the Kafka brokers %s: %w", strings.Join(cfg.Brokers, ","), last)
}

// ask wants any answer of any broker.
func ask(ctx context.Context, client *kgo.Client) error {
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{}
	_, err := request.RequestWith(ctx, client)
	return err
}

// errNoProducerID: without one, what is sent again could be there twice and out of order.
var errNoProducerID = publisher.NewError(publisher.ClassConfiguration, "the brokers give no producer ids (InitProducerId), "+
	"without which a record that is sent again may come twice and out of order: relay needs Kafka 0.11 or newer, "+
	"or a service with idempotent producers")

// offersProducerIDs asks any broker.
func offersProducerIDs(ctx context.Context, client *kgo.Client) error {
	response, err := versions(ctx, client)
	if err != nil {
		return err
	}
	for _, api := range response.ApiKeys {
		if api.ApiKey == kmsg.InitProducerID.Int16() {
			return nil
		}
	}
	return errNoProducerID
}

// versions is what a broker says of the requests that it takes, and of the cluster's features.
func versions(ctx context.Context, client *kgo.Client) (*kmsg.ApiVersionsResponse, error) {
	request := kmsg.NewPtrApiVersionsRequest()
	request.ClientSoftwareName, request.ClientSoftwareVersion = "relay", "1"
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	return response, kerr.ErrorForCode(response.ErrorCode)
}

// misconfigured is the error of a client that cannot be made.
func misconfigured(err error) error {
	if _, ours := errors.AsType[*publisher.Error](err); ours {
		return err
	}
	return publisher.NewError(publisher.ClassConfiguration, "configure the Kafka client: "+err.Error())
}
