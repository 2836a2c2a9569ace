package franz

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

// An operator raises a topic's limit amid traffic. The producer is replaced before a record goes that is judged by the
// new limit, and nothing that is under way is cut off: it may be stored, and would be sent again.
func TestProducer_IsReplacedForANewLimitWithNothingInFlight(t *testing.T) {
	fake := contract.StartFake(t)
	site := fake.Site()
	createTopic(t, site.Brokers, "t")
	p, c := openForTest(t, contract.Config(t, site.Brokers))
	record := &publisher.Record{Topic: "t", Partition: 0, Value: []byte("v")}
	send := func() error { return p.Send(t.Context(), record, nil) }
	if err := send(); err != nil {
		t.Fatal(err)
	}
	until(t, "the first is acked", func() bool { return c.acked.Load() == 1 })
	slowly(fake, 200*time.Millisecond)
	for range 50 {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	limit := "5000000"
	altered, err := kadmin(t, site.Brokers).AlterTopicConfigs(t.Context(),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &limit}}, "t")
	if err != nil || altered[0].Err != nil {
		t.Fatal(err, altered)
	}
	until(t, "the new limit is known", func() bool {
		about, err := p.TopicNow(t.Context(), "t")
		return err == nil && about.MaxMessageBytes == 5_000_000
	})
	if p.InFlight() == 0 {
		t.Fatal("nothing is in flight: this test proves nothing")
	}
	if err := send(); !publisher.Fatal(err) || publisher.Class(err) != publisher.ClassClosed {
		t.Errorf("a record after the limit was raised: %v", err)
	}
	p.Close()
	if acked, failed := c.acked.Load(), c.failed.Load(); acked != 51 || failed != 0 {
		t.Errorf("%d records acked, %d failed, want 51 and 0", acked, failed)
	}
	if got := len(values(t, site.Brokers, "t")); got != 51 {
		t.Errorf("%d records are stored, want 51", got)
	}
}

// With compression the window keeps to the limit, whatever it is now.
func TestProducer_FollowsANewLimitWithCompression(t *testing.T) {
	site := contract.StartFake(t).Site()
	createTopic(t, site.Brokers, "t")
	cfg := contract.Config(t, site.Brokers)
	cfg.Compression = "gzip"
	p, c := openForTest(t, cfg)
	record := &publisher.Record{Topic: "t", Partition: 0, Value: make([]byte, 1000)}
	if err := p.Send(t.Context(), record, nil); err != nil {
		t.Fatal(err)
	}
	limit := "5000"
	if _, err := kadmin(t, site.Brokers).AlterTopicConfigs(t.Context(),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &limit}}, "t"); err != nil {
		t.Fatal(err)
	}
	until(t, "the new limit is known", func() bool {
		about, err := p.TopicNow(t.Context(), "t")
		return err == nil && about.MaxMessageBytes == 5000
	})
	for range 100 {
		if err := p.Send(t.Context(), record, nil); err != nil {
			t.Fatal(err)
		}
	}
	p.Flush()
	until(t, "all are acked", func() bool { return c.acked.Load() == 101 })
}
