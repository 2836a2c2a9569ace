//go:build cgo

package librdkafka

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
)

// pingStep bounds one question of Ping: it cannot be cut, so it is asked again and again.
const pingStep = 500 * time.Millisecond

// noToken is what librdkafka says of a token endpoint that answers with a refusal.
const noToken = "Failed to acquire SASL OAUTHBEARER token: "

// Ping says whether the cluster answers, within ctx. publisher.Class of the error is authentication where the brokers
// refuse us (asking again will not help), transport where they cannot be reached, configuration where librdkafka does
// not take the configuration.
func Ping(ctx context.Context, cfg publisher.Config) error {
	if err := checkVersion(); err != nil {
		return err
	}
	settings := kafka.ConfigMap{"go.events.channel.size": eventBuffer, "go.produce.channel.size": 0}
	if err := connectionSettings(settings, cfg, ofConnections); err != nil {
		return misconfigured(err, nil)
	}
	voice := newVoice(cfg, settings)
	client, err := kafka.NewProducer(&settings)
	if err != nil {
		return misconfigured(err, voice)
	}
	defer client.Close()

	where := strings.Join(cfg.Brokers, ",")
	last := publisher.NewError(publisher.ClassTransport, "no answer")
	for ctx.Err() == nil {
		step := pingStep
		if until, ok := ctx.Deadline(); ok {
			step = max(time.Millisecond, min(step, time.Until(until)))
		}
		if _, err := client.GetMetadata(nil, false, int(step/time.Millisecond)); err == nil {
			return nil
		}
		for pending := true; pending; {
			select {
			case event := <-client.Events():
				last = worse(last, event, voice)
			case <-client.Logs(): // the events say the same; unread, it would fill up
			default:
				pending = false
			}
		}
		if last.Class() == publisher.ClassAuthentication {
			break
		}
	}
	return fmt.Errorf("reach the Kafka brokers %s: %w", where, explained(ctx, cfg, last))
}

// usable looks whether librdkafka takes the TLS files. A client that logs in with tokens must not be the first to read
// them: when it cannot be made, librdkafka 2.15 ends the whole process (an assertion in rd_kafka_q_destroy0). This one
// connects nowhere.
func usable(cfg publisher.Config) error {
	if cfg.SASL.Mechanism != "OAUTHBEARER" || !cfg.TLS.Enabled {
		return nil
	}
	cfg.SASL = publisher.SASL{}
	settings := kafka.ConfigMap{"go.events.channel.size": eventBuffer, "go.produce.channel.size": 0}
	if err := connectionSettings(settings, cfg, func(name string) bool { return strings.HasPrefix(name, "ssl.") }); err != nil {
		return err
	}
	delete(settings, "bootstrap.servers")
	voice := newVoice(cfg, settings)
	client, err := kafka.NewProducer(&settings)
	if err != nil {
		return misconfigured(err, voice)
	}
	client.Close()
	return nil
}

// misconfigured is the error of a client that cannot be made; voice is nil where librdkafka has not spoken.
func misconfigured(err error, voice *voice) error {
	text := err.Error()
	if publisher.OfKafka(err) {
		return err
	}
	if voice != nil {
		text = plainly(voice.Clean(text))
	}
	return publisher.NewError(publisher.ClassConfiguration, "configure the Kafka client: "+text)
}

// worse keeps the error that says most about why no broker answers.
func worse(last *publisher.Error, event kafka.Event, voice *voice) *publisher.Error {
	e, ok := event.(kafka.Error)
	if !ok || e.Code() == kafka.ErrAllBrokersDown && last.Code() != 0 {
		return last
	}
	text := plainly(voice.Clean(e.String()))
	if strings.Contains(text, noToken) {
		return publisher.NewError(publisher.ClassAuthentication, "there is no token to log in with: kafka.sasl.token_url refuses: "+
			strings.TrimPrefix(text, noToken))
	}
	return asError(e).With(text)
}
