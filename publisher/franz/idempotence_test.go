package franz

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

// withoutProducerIDs is a cluster that has everything but idempotent producers.
func withoutProducerIDs(t *testing.T) *contract.Fake {
	t.Helper()
	offered := kversion.Stable()
	offered.SetMaxKeyVersion(kmsg.InitProducerID.Int16(), -1)
	return contract.StartFake(t, kfake.MaxVersions(offered), kfake.SeedTopics(1, "t"))
}

// franz-go goes on without idempotence there, and says so in its log only.
func TestProducer_SendsNothingWithoutIdempotence(t *testing.T) {
	fake := withoutProducerIDs(t)
	p, counted := openForTest(t, contract.Config(t, fake.ListenAddrs()))
	if err := p.Send(t.Context(), &publisher.Record{Topic: "t", Partition: 0, Value: []byte("v")}, nil); err != nil {
		t.Fatal(err)
	}
	p.Flush()
	until(t, "the producer has ended", func() bool { return p.Err() != nil })
	if err := p.Err(); !publisher.Fatal(err) || publisher.Class(err) != publisher.ClassConfiguration || !strings.Contains(err.Error(), "no producer ids") {
		t.Errorf("%v", err)
	}
	p.Close()
	if sent := values(t, fake.ListenAddrs(), "t"); len(sent) > 0 || counted.acked.Load() > 0 {
		t.Errorf("%q was sent, %d acked", sent, counted.acked.Load())
	}
}

func TestPing_WantsBrokersWithProducerIDs(t *testing.T) {
	err := Ping(t.Context(), contract.Config(t, withoutProducerIDs(t).ListenAddrs()))
	if publisher.Class(err) != publisher.ClassConfiguration || !strings.Contains(err.Error(), "Kafka 0.11") {
		t.Errorf("%s: %v", publisher.Class(err), err)
	}
}
