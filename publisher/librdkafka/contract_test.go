//go:build cgo

package librdkafka

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(cfg publisher.Config, reports publisher.Reports) (publisher.Producer, error) {
	return Open(cfg, reports)
}

func TestContract_OnAFakeBroker(t *testing.T) {
	contract.Run(t, open, contract.StartFake(t).Site())
}

func TestContract_OnBrokersThatMisbehave(t *testing.T) {
	contract.RunFaults(t, open)
}

func TestTransactions_OnAFakeBroker(t *testing.T) {
	contract.RunTransactions(t, Client{}, contract.StartFake(t).Site())
}

func TestTransactions_OnBrokersThatMisbehave(t *testing.T) {
	contract.RunTransactionFaults(t, Client{})
}

func TestQuestions_OnAFakeBroker(t *testing.T) {
	contract.RunQuestions(t, Client{}, contract.StartFake(t).Site())
}

func TestSecurity(t *testing.T) { contract.RunSecurity(t, Client{}) }
