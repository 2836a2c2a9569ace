//go:build cgo

package franz

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/internal/devenv/proxy"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
	"github.com/outboxrelay/relay/publisher/librdkafka"
)

// TestHanging_IsFoundAndEnded makes a transaction that nobody will end: a request of a committed one is sent again to a
// topic that was deleted and made anew, by brokers that do not ask the coordinator first.
func TestHanging_IsFoundAndEnded(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka of its own")
	}
	fleet := proxy.NewFleet()
	t.Cleanup(fleet.Close)
	cluster, err := kafka.Start(t.Context(), kafka.Options{Advertise: fleet.Advertise,
		Properties: map[string]string{"transaction.partition.verification.enable": "false"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	cfg := contract.Config(t, cluster.Brokers())
	admin, err := OpenAdmin(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	make1 := func() {
		t.Helper()
		if _, err := admin.CreateTopics(t.Context(), []publisher.TopicSpec{{Name: "p", Partitions: 1, ReplicationFactor: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	make1()
	copied := fleet.Node(0).Wire.On(proxy.Rule{Side: proxy.Request, API: proxy.Produce, Do: proxy.Copy})
	commitOne(t, cfg, "id", "p")
	if text, err := Hanging(t.Context(), cfg, "p", []byte("k"), "id"); err != nil || text != "" {
		t.Fatalf("after a commit: %q, %v", text, err)
	}

	ask := kadm.NewClient(admin.client)
	if _, err := ask.DeleteTopics(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	until(t, "the topic is gone", func() bool {
		found, err := admin.Describe(t.Context(), []string{"p"})
		return err == nil && publisher.Class(found[0].Err) == publisher.ClassNoTopic
	})
	make1()
	if _, err := copied.Replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	var text string
	until(t, "the transaction is found", func() bool {
		text, err = Hanging(t.Context(), cfg, "p", []byte("k"), "id", "id-parked")
		return err == nil && text != ""
	})
	for _, words := range []string{"topic p, partition 0, from offset 0", "abort --topic p --partition 0 --start-offset 0"} {
		if !strings.Contains(text, words) {
			t.Errorf("%q does not say %q", text, words)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if r, err := Last(ctx, cfg, "p", []byte("k")); publisher.Class(err) != publisher.ClassTimedOut {
		t.Errorf("read past it: %v, %v", r, err)
	}

	producers, err := ask.DescribeProducers(t.Context(), kadm.TopicsSet{"p": {0: {}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range producers.SortedProducers() {
		_, err := ask.WriteTxnMarkers(t.Context(), kadm.TxnMarkers{ProducerID: p.ProducerID, ProducerEpoch: p.ProducerEpoch,
			CoordinatorEpoch: max(p.CoordinatorEpoch, 0), Topics: kadm.TopicsSet{"p": {0: {}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if r, err := Last(t.Context(), cfg, "p", []byte("k")); r != nil || err != nil {
		t.Errorf("after it was aborted: %v, %v", r, err)
	}
	if text, err := Hanging(t.Context(), cfg, "p", []byte("k"), "id"); err != nil || text != "" {
		t.Errorf("after it was aborted: %q, %v", text, err)
	}
}

// commitOne commits a record by librdkafka, which speaks the protocol in which a request is not bound to a topic's id.
func commitOne(t *testing.T, cfg publisher.Config, id, topic string) {
	t.Helper()
	cfg.TransactionalID, cfg.TransactionTimeout = id, 30*time.Second
	reports := &counter{}
	p, err := librdkafka.OpenTransactional(t.Context(), cfg, reports)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Begin(); err != nil {
		t.Fatal(err)
	}
	record := publisher.Record{Topic: topic, Partition: 0, Key: []byte("k"), Value: fmt.Append(nil, 1)}
	if err := p.Send(t.Context(), &record, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "it is acked", func() bool { return reports.acked.Load() == 1 })
	if _, err := p.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}
