package main

import (
	"testing"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/clients"
)

// A producer that could not be opened was a nil pointer in an interface that is not nil: the session closed it, and the
// daemon ended in a panic. It took a key that does not fit, or exactly_once without the right to its transactional id.
func TestKafkaSide_GivesNoProducerWithAnError(t *testing.T) {
	cfg := config.Default()
	cfg.Kafka.Properties = config.Properties{"no.such.property": "1"}
	for _, client := range clients.All() {
		givesNoProducer(t, client, cfg)
	}
}

func givesNoProducer(t *testing.T, client publisher.Client, cfg *config.Config) {
	t.Helper()
	k := &kafkaSide{cfg: cfg, client: client, timeout: 1e9}
	if p, err := k.open(nil); p != nil || publisher.Class(err) != publisher.ClassConfiguration {
		t.Errorf("open: %v, %v", p, err)
	}
	if p, err := k.openTransactional(t.Context(), "id", nil); p != nil || publisher.Class(err) != publisher.ClassConfiguration {
		t.Errorf("open a transactional one: %v, %v", p, err)
	}
}
