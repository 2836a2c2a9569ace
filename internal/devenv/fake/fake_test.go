package fake

import (
	"net"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, b *Broker) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Brokers()...), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestBroker_HasTheTopicsItWasGivenAndNoOthers(t *testing.T) {
	b := ForTest(t, map[string]int32{"one": 1, "four": 4})
	c := client(t, b)
	topics, err := kadm.NewClient(c).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(topics) != 2 || len(topics["one"].Partitions) != 1 || len(topics["four"].Partitions) != 4 {
		t.Errorf("topics %v", topics)
	}
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: "one", Value: []byte("x")}).FirstErr(); err != nil {
		t.Error(err)
	}
	details, err := kadm.NewClient(c).ListTopics(t.Context(), "unknown")
	if err != nil || details["unknown"].Err == nil {
		t.Errorf("a topic nobody named came into being: %v, %v", details, err)
	}
}

func TestStart_TakesTheGivenPortOnThisMachineOnly(t *testing.T) {
	first := ForTest(t, nil)
	host, port, err := net.SplitHostPort(first.Brokers()[0])
	if err != nil || !net.ParseIP(host).IsLoopback() {
		t.Fatalf("listens on %v: %v", first.Brokers(), err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := Start(Options{Port: number}); err == nil {
		b.Stop()
		t.Error("two brokers on one port")
	}
	first.Stop()
	first.Stop()
	b, err := Start(Options{Port: number})
	if err != nil {
		t.Fatal(err)
	}
	b.Stop()
}

func TestStart_RefusesATopicWithoutPartitions(t *testing.T) {
	if b, err := Start(Options{Topics: map[string]int32{"t": 0}}); err == nil {
		b.Stop()
		t.Error("a topic without partitions was taken")
	}
}
