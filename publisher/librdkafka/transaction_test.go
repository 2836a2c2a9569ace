//go:build cgo

package librdkafka

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/devenv/fake"
	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

func TestTransactions_OnTheStandIn(t *testing.T) {
	transactions(t, fake.ForTest(t, map[string]int32{"t": 4, "p": 3}).Brokers())
}

func TestTransactions_OnApacheKafka(t *testing.T) {
	brokers := kafka.ForTest(t).Brokers()
	admin := kadmin(t, brokers)
	for topic, partitions := range map[string]int32{"t": 4, "p": 3} {
		if _, err := admin.CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = admin.DeleteTopics(context.Background(), topic) })
	}
	until(t, "every part of the cluster knows the topics", func() bool {
		_, err := Last(t.Context(), contract.Config(t, brokers), "p", nil)
		return err == nil
	})
	transactions(t, brokers)
}

func transactions(t *testing.T, brokers []string) {
	cfg := contract.Config(t, brokers)
	if last := lastValue(t, cfg, "p", "name"); last != "" {
		t.Fatalf("an empty topic has the record %q", last)
	}
	first, acks := openTransactional(t, cfg, "id")
	tell := func(p *Transactions, acks *counter, topic, value string) {
		t.Helper()
		before := acks.acked.Load()
		record := publisher.Record{Topic: topic, Partition: publisher.AnyPartition, Key: []byte("name"), Value: []byte(value)}
		if err := p.Send(t.Context(), &record, nil); err != nil {
			t.Fatal(err)
		}
		until(t, "the record is acked", func() bool { return acks.acked.Load() > before })
	}
	for n := range 3 {
		if err := first.Begin(); err != nil {
			t.Fatal(err)
		}
		tell(first, acks, "t", fmt.Sprint("committed ", n))
		tell(first, acks, "p", fmt.Sprint(n))
		if _, err := first.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if last := lastValue(t, cfg, "p", "name"); last != fmt.Sprint(n) {
			t.Fatalf("after commit %d the last record is %q", n, last)
		}
	}
	if last := lastValue(t, cfg, "p", "another name"); last != "" {
		t.Errorf("another key has the record %q", last)
	}

	if err := first.Begin(); err != nil {
		t.Fatal(err)
	}
	tell(first, acks, "t", "open when the successor came")
	tell(first, acks, "p", "99")
	second, secondAcks := openTransactional(t, cfg, "id")
	if last := lastValue(t, cfg, "p", "name"); last != "2" {
		t.Errorf("after the take-over the last record is %q", last)
	}
	if clean, err := first.Commit(t.Context()); err == nil || !publisher.Fatal(first.Err()) {
		t.Errorf("a fenced producer committed: clean %v, %v; its end: %v", clean, err, first.Err())
	}
	if err := second.Begin(); err != nil {
		t.Fatal(err)
	}
	tell(second, secondAcks, "t", "aborted")
	if err := second.Abort(t.Context()); err != nil {
		t.Errorf("abort: %v", err)
	}
	third, thirdAcks := openTransactional(t, cfg, "id")
	if err := third.Begin(); err != nil {
		t.Fatal(err)
	}
	tell(third, thirdAcks, "t", "committed 3")
	if _, err := third.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if visible := readCommitted(t, brokers, "t", 4); len(visible) != 4 || visible[3] != "committed 3" {
		t.Errorf("visible: %q", visible)
	}
}

// TestLast_WaitsForAnothersTransaction: another relay's open transaction lies before the record that is looked for.
func TestLast_WaitsForAnothersTransaction(t *testing.T) {
	cfg := contract.Config(t, fake.ForTest(t, map[string]int32{"p": 1}).Brokers())
	slow, slowAcks := openTransactional(t, cfg, "slow")
	quick, quickAcks := openTransactional(t, cfg, "quick")
	for _, step := range []struct {
		p    *Transactions
		acks *counter
		key  string
	}{{slow, slowAcks, "slow"}, {quick, quickAcks, "quick"}} {
		if err := step.p.Begin(); err != nil {
			t.Fatal(err)
		}
		record := publisher.Record{Topic: "p", Partition: publisher.AnyPartition, Key: []byte(step.key), Value: []byte("1")}
		if err := step.p.Send(t.Context(), &record, nil); err != nil {
			t.Fatal(err)
		}
		until(t, "it is acked", func() bool { return step.acks.acked.Load() > 0 })
	}
	if _, err := quick.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if r, err := Last(ctx, cfg, "p", []byte("quick")); err == nil {
		t.Fatalf("found %v although the partition could not be read to its end", r)
	}
	if _, err := slow.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if last := lastValue(t, cfg, "p", "quick"); last != "1" {
		t.Errorf("the last record is %q", last)
	}
}

func openTransactional(t *testing.T, cfg publisher.Config, id string) (*Transactions, *counter) {
	t.Helper()
	cfg.TransactionalID, cfg.TransactionTimeout = id, 30*time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := &counter{}
	p, err := OpenTransactional(ctx, cfg, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, c
}

func lastValue(t *testing.T, cfg publisher.Config, topic, key string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := Last(ctx, cfg, topic, []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		return ""
	}
	return string(r.Value)
}

// readCommitted gives the values of the first n committed records.
func readCommitted(t *testing.T, brokers []string, topic string, n int) (values []string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for len(values) < n && ctx.Err() == nil {
		c.PollFetches(ctx).EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}
