package franz

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/publisher/contract"
)

// While a partition has no leader its brokers are asked now and then, and not as fast as they answer.
func TestLast_WaitsForALeaderWithPatience(t *testing.T) {
	fake := contract.StartFake(t)
	site := fake.Site()
	createTopic(t, site.Brokers, "t")
	client, err := kgo.NewClient(kgo.SeedBrokers(site.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Key: []byte("k"), Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	away := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: -1})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if r, err := Last(ctx, contract.Config(t, site.Brokers), "t", []byte("k")); err == nil {
		t.Errorf("without a leader: %+v", r)
	}
	if hits := away.Hits(); hits < 2 || hits > 25 {
		t.Errorf("the broker was asked %d times within a second", hits)
	}
	away.Remove()
	if r, err := Last(t.Context(), contract.Config(t, site.Brokers), "t", []byte("k")); err != nil || string(r.Value) != "v" {
		t.Errorf("with a leader: %+v, %v", r, err)
	}
}
