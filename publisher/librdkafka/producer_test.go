//go:build cgo

package librdkafka

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

// counter is a Reports that only counts.
type counter struct{ acked, failed atomic.Int64 }

func (c *counter) Acked(any, int32, int64) { c.acked.Add(1) }
func (c *counter) Failed(any, error)       { c.failed.Add(1) }

func openForTest(t testing.TB, cfg publisher.Config) (*Producer, *counter) {
	t.Helper()
	c := &counter{}
	p, err := Open(cfg, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, c
}

func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestClose_IsPromptWithoutBrokers(t *testing.T) {
	p, _ := openForTest(t, contract.Config(t, []string{"127.0.0.1:1"}))
	begin := time.Now()
	p.Close()
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
}

// One broker knows of new partitions, and the one that librdkafka asks does not yet: records for them would be refused.
func TestLearn_IsNotDoneBeforeAllPartitionsAreKnown(t *testing.T) {
	site := contract.StartFake(t).Site()
	client, err := kgo.NewClient(kgo.SeedBrokers(site.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	p, _ := openForTest(t, contract.Config(t, site.Brokers))
	if !p.learn("t", 1) {
		t.Error("librdkafka does not get to know the topic")
	}
	if p.learn("t", 3) {
		t.Error("librdkafka is said to know three partitions of a topic that has one")
	}
	if _, err := admin.UpdatePartitions(t.Context(), 3, "t"); err != nil {
		t.Fatal(err)
	}
	if !p.learn("t", 3) {
		t.Error("librdkafka does not get to know the new partitions")
	}
}
