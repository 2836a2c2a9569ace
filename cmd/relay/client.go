package main

import (
	"log/slog"
	"strings"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/clients"
)

// loadConfig is config.Load, with what only the Kafka clients know of kafka.properties.
func loadConfig(path string, env []string, opts ...config.Option) (*config.Config, error) {
	return config.Load(path, env, append(opts, config.AskClient(askClient))...)
}

// askClient says what the chosen client does not take of kafka.properties: first of each by itself, then of all
// together with what the relay sets.
func askClient(cfg *config.Config, sound bool) (faults []config.Fault) {
	client, err := clients.Named(cfg.Kafka.Client)
	if err != nil || len(cfg.Kafka.Properties) == 0 {
		return nil // it is a fault already; or all that there is, is the relay's own
	}
	for name, value := range cfg.Kafka.Properties {
		for _, err := range client.CheckProperties(map[string]string{name: value}) {
			faults = append(faults, config.Fault{Key: propertyKey + "." + name,
				Reason: strings.TrimPrefix(err.Error(), propertyKey+": "+name+" ")})
		}
	}
	if !sound || len(faults) > 0 {
		return faults
	}
	if err := newKafkaSide(cfg, client, slog.New(slog.DiscardHandler)).check(); err != nil {
		return []config.Fault{{Key: guilty(cfg.Kafka.Properties, err.Error()),
			Reason: client.Name() + " does not take this together with the rest: " + err.Error()}}
	}
	return nil
}

const propertyKey = "kafka.properties"

// guilty is the key of the property that a complaint names: the longest one, for a name may contain another.
func guilty(properties map[string]string, complaint string) string {
	named := ""
	for name := range properties {
		if strings.Contains(complaint, name) && len(name) > len(named) {
			named = name
		}
	}
	if named == "" {
		return propertyKey
	}
	return propertyKey + "." + named
}

// clientOf is the Kafka client that the configuration chose. It is in this build: validation has made sure of that.
func clientOf(cfg *config.Config) publisher.Client {
	c, err := clients.Named(cfg.Kafka.Client)
	if err != nil {
		panic(err)
	}
	return c
}
