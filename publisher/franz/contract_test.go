package franz

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/exec.(*Cmd).Wait"),
		goleak.IgnoreAnyFunction("github.com/outboxrelay/relay/internal/devenv/process.Start.func1"))
}

// open leaves out how many records librdkafka may put into a batch: franz-go has no such bound, and sends the first
// record of a burst alone without one.
func open(cfg publisher.Config, reports publisher.Reports) (publisher.Producer, error) {
	properties := map[string]string{}
	for name, value := range cfg.Properties {
		if name != "batch.num.messages" {
			properties[name] = value
		}
	}
	cfg.Properties = properties
	return Client{}.Open(cfg, reports)
}

func TestContract_OnAFakeBroker(t *testing.T) {
	contract.Run(t, open, contract.StartFake(t).Site())
}

func TestContract_OnBrokersThatMisbehave(t *testing.T) {
	contract.RunFaults(t, open)
}

func TestContract_OnApacheKafka(t *testing.T) {
	cluster := kafka.ForTest(t)
	contract.Run(t, open, contract.Site{
		Brokers: cluster.Brokers(),
		Away:    func() { cluster.FreezeNode(0) },
		Back:    func() { cluster.ThawNode(0) },
	})
}

func TestTransactions_OnAFakeBroker(t *testing.T) {
	contract.RunTransactions(t, Client{}, contract.StartFake(t).Site())
}

func TestTransactions_OnBrokersThatMisbehave(t *testing.T) {
	contract.RunTransactionFaults(t, Client{})
}

func TestTransactions_OnApacheKafka(t *testing.T) {
	contract.RunTransactions(t, Client{}, contract.Site{Brokers: kafka.ForTest(t).Brokers()})
}

func TestQuestions_OnAFakeBroker(t *testing.T) {
	contract.RunQuestions(t, Client{}, contract.StartFake(t).Site())
}

func TestSecurity(t *testing.T) { contract.RunSecurity(t, Client{}) }

func TestQuestions_OnApacheKafka(t *testing.T) {
	contract.RunQuestions(t, Client{}, contract.Site{Brokers: kafka.ForTest(t).Brokers()})
}
