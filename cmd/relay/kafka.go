package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/publisher"
)

// kafkaConfig is the configuration of Kafka for a command that does one thing. Its client logs warnings only, unless
// --log-level asks for more: what it says of its connections is the daemon's concern.
func (g *globals) kafkaConfig(cfg *config.Config) (publisher.Config, error) {
	kafka, err := cfg.Kafka.Publisher()
	if err != nil {
		return kafka, err
	}
	quiet := *cfg
	if g.logLevel == "" {
		quiet.Log.Level = "warn"
	}
	kafka.Log, err = g.logger(&quiet)
	return kafka, err
}

// pingKafka makes sure that a broker answers, within a few seconds. The error says what to do.
func pingKafka(ctx context.Context, cfg *config.Config, kafka publisher.Config) error {
	bounded, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	err := clientOf(cfg).Ping(bounded, kafka)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return explainKafka(err, kafka)
}

func explainKafka(err error, cfg publisher.Config) error {
	var cure string
	switch publisher.Class(err) {
	case publisher.ClassAuthentication:
		cure = "check kafka.tls and kafka.sasl"
	case publisher.ClassConfiguration:
		cure = "check [kafka]"
	default:
		cure = "start them, or say in kafka.brokers where they are"
		if !cfg.TLS.Enabled {
			cure += " (if they speak TLS, set kafka.tls.enabled = true)"
		}
	}
	reason := err.Error()
	if cause, ok := errors.AsType[*publisher.Error](err); ok {
		reason = cause.Error()
	}
	return fmt.Errorf("cannot talk to Kafka at %s: %s; %s", strings.Join(cfg.Brokers, ", "), reason, cure)
}
