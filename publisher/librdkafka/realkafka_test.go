//go:build cgo

package librdkafka

import (
	"testing"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/publisher/contract"
)

func TestContract_OnApacheKafka(t *testing.T) {
	cluster := kafka.ForTest(t)
	contract.Run(t, open, contract.Site{
		Brokers: cluster.Brokers(),
		Away:    func() { cluster.FreezeNode(0) },
		Back:    func() { cluster.ThawNode(0) },
	})
}

func TestTransactions_OnApacheKafka(t *testing.T) {
	contract.RunTransactions(t, Client{}, contract.Site{Brokers: kafka.ForTest(t).Brokers()})
}

func TestQuestions_OnApacheKafka(t *testing.T) {
	contract.RunQuestions(t, Client{}, contract.Site{Brokers: kafka.ForTest(t).Brokers()})
}
