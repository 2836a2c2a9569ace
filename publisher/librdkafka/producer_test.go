//go:build cgo

package librdkafka

import (
	"context"
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

func kadmin(t testing.TB, brokers []string) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// makeOld lets the watcher ask for a topic again now.
func makeOld(p *Producer, name string) {
	n := p.topics.keep(name)
	old := *n.latest.Load()
	old.at = old.at.Add(-time.Hour)
	n.latest.CompareAndSwap(n.latest.Load(), &old)
	p.topics.wake()
}

func TestSend_GoesOverToMorePartitionsOnlyWhenNothingIsInFlight(t *testing.T) {
	fake := contract.StartFake(t)
	site := fake.Site()
	stage := kadmin(t, site.Brokers)
	if _, err := stage.CreateTopic(t.Context(), 2, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	p, c := openForTest(t, contract.Config(t, site.Brokers))
	send := func(ctx context.Context, partition int32) error {
		return p.Send(ctx, &publisher.Record{Topic: "orders", Partition: partition, Value: []byte("v")}, nil)
	}
	for n := range int32(2) {
		if err := send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "both are acked", func() bool { return c.acked.Load() == 2 })
	if _, err := stage.UpdatePartitions(t.Context(), 5, "orders"); err != nil {
		t.Fatal(err)
	}
	makeOld(p, "orders")
	until(t, "the watcher has seen the new partitions", func() bool {
		about, err := p.Topic(t.Context(), "orders")
		return err == nil && about.Partitions == 5
	})

	// Something in flight: an old record that is kept from its ack. The count must not change before it is acked.
	s := p.sending["orders"]
	s.unacked.Add(1)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := send(ctx, 4); err == nil || publisher.Class(err) != publisher.ClassUnknown {
		t.Fatalf("a record went to a new partition while another was in flight: %v", err)
	}
	if n := s.answer.topic.Partitions; n != 2 {
		t.Fatalf("%d partitions while a record is in flight", n)
	}
	s.unacked.Add(-1)
	if err := send(t.Context(), 4); err != nil {
		t.Fatalf("after the last ack: %v", err)
	}
	until(t, "the record on the new partition is acked", func() bool { return c.acked.Load() == 3 })
}

func TestSend_StartsSlowlyAgainAfterARest(t *testing.T) {
	site := contract.StartFake(t).Site()
	if _, err := kadmin(t, site.Brokers).CreateTopic(t.Context(), 1, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	p, c := openForTest(t, contract.Config(t, site.Brokers))
	record := &publisher.Record{Topic: "orders", Partition: 0, Value: []byte("v")}
	if err := p.Send(t.Context(), record, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "it is acked", func() bool { return c.acked.Load() == 1 })
	l := p.sending["orders"].lanes[0]
	if !l.open.Load() {
		t.Fatal("the lane is shut after an ack")
	}
	l.used -= forgets + time.Second
	site.Away()
	defer site.Back()
	if err := p.Send(t.Context(), record, nil); err != nil {
		t.Fatal(err)
	}
	if l.open.Load() {
		t.Error("the lane is open after a rest of more than ten minutes")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Send(ctx, record, nil); err == nil {
		t.Error("a second record went before the first one's ack")
	}
}

func TestSending_SpreadsInRuns(t *testing.T) {
	s := &sending{answer: &answer{topic: publisher.Topic{Partitions: 3}}, current: 2}
	var got []int32
	for range 3*run + 1 {
		got = append(got, s.pick(nil))
	}
	for i, p := range got {
		if want := int32(i / run % 3); p != want {
			t.Fatalf("record %d without a key goes to %d, want %d", i, p, want)
		}
	}
	if s.pick([]byte{}) != publisher.Partition([]byte{}, 3) {
		t.Error("an empty key was spread")
	}
}

func TestAges_KnowTheOldest(t *testing.T) {
	var a ages
	const step = time.Second
	for n := range int64(100) { // a record each 100 ms
		a.note(n, time.Duration(n)*100*time.Millisecond, step)
	}
	for _, done := range []int64{0, 1, 9, 10, 55, 99} {
		went := time.Duration(done) * 100 * time.Millisecond
		if at := a.oldest(done); at > went || went-at >= step {
			t.Errorf("record %d went at %v, said to be %v", done, went, at)
		}
	}
	// After a rest the mark of before must not stand for what comes.
	a.note(100, time.Hour, step)
	if at := a.oldest(100); at != time.Hour {
		t.Errorf("after a rest: %v", at)
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
