package franz

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

// counter is a Reports that only counts.
type counter struct{ acked, failed atomic.Int64 }

func (c *counter) Acked(any, int32, int64) { c.acked.Add(1) }

func (c *counter) Failed(any, error) { c.failed.Add(1) }

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

func createTopic(t testing.TB, brokers []string, topic string) {
	t.Helper()
	if _, err := kadmin(t, brokers).CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
}

func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// values of a topic's only partition, so far.
func values(t testing.TB, brokers []string, topic string) (all []string) {
	t.Helper()
	ends, err := kadmin(t, brokers).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}), kgo.DisableFetchSessions())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for int64(len(all)) < end.Offset {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { all = append(all, string(r.Value)) })
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records were read", len(all), end.Offset)
		}
	}
	return all
}

// slowly lets the broker take its time for each produce request.
func slowly(fake *contract.Fake, pause time.Duration) {
	fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		fake.SleepControl(func() { <-time.After(pause) })
		return nil, nil, false
	})
}
