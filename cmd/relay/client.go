package main

import (
	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/clients"
)

// clientOf is the Kafka client that the configuration chose. It is in this build: validation has made sure of that.
func clientOf(cfg *config.Config) publisher.Client {
	c, err := clients.Named(cfg.Kafka.Client)
	if err != nil {
		panic(err)
	}
	return c
}
