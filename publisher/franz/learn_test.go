package franz

import (
	"testing"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

// One broker knows of new partitions, and the one that franz-go asks does not yet: records for them would be refused.
func TestLearn_IsNotDoneBeforeAllPartitionsAreKnown(t *testing.T) {
	site := contract.StartFake(t).Site()
	createTopic(t, site.Brokers, "t")
	p, c := openForTest(t, contract.Config(t, site.Brokers))
	if !p.learn("t", 3) {
		t.Error("of a topic that franz-go has not met it asks when it does")
	}
	if err := p.Send(t.Context(), &publisher.Record{Topic: "t", Partition: 0}, nil); err != nil {
		t.Fatal(err)
	}
	p.Flush()
	until(t, "the record is acked", func() bool { return c.acked.Load() == 1 })
	if p.learn("t", 3) {
		t.Error("franz-go is said to know three partitions of a topic that has one")
	}
	if _, err := kadmin(t, site.Brokers).UpdatePartitions(t.Context(), 3, "t"); err != nil {
		t.Fatal(err)
	}
	if !p.learn("t", 3) {
		t.Error("franz-go does not get to know the new partitions")
	}
}
