package contract

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/publisher"
)

// configsFail has the broker answer with an error about the configuration of topics, so many times; -1 is for good.
func (f *Fake) configsFail(err *kerr.Error, count int) *kfake.FaultHandle {
	return f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: err, Count: count})
}

// A broker that has not heard of a topic just made says that there is none to configure. That is not the right that
// lacks, and not the topic that does.
func testUnheardOf(t *testing.T, open Open) {
	fake := StartFake(t)
	site := fake.Site()
	topic := newTopic(t, site.Brokers, 1, map[string]string{"max.message.bytes": fmt.Sprint(3 << 20)})
	unheard := fake.configsFail(kerr.UnknownTopicOrPartition, 2)
	b := openBench(t, open, Config(t, site.Brokers))
	about, err := b.producer.Topic(b.ctx, topic)
	if err != nil || about.MaxMessageBytes != 3<<20 {
		t.Errorf("a topic that one broker has not heard of for a moment: %+v, %v", about, err)
	}
	if unheard.Hits() != 2 {
		t.Errorf("the broker said %d times that it has not heard of it, want 2", unheard.Hits())
	}
	b.send(incompressible(topic, 2<<20))
	b.allAcked()

	fake.configsFail(kerr.UnknownServerError, -1)
	b = openBench(t, open, Config(t, site.Brokers))
	_, err = b.producer.Topic(b.ctx, topic)
	if err == nil || publisher.TopicTrouble(err) || publisher.Rejected(err) {
		t.Errorf("a topic whose configuration cannot be told: %v", err)
	}
}

// Where the limit may not be read, the broker decides about a record: whatever its size, it goes, and goes alone.
func testHiddenLimit(t *testing.T, open Open) {
	fake := StartFake(t)
	site := fake.Site()
	topic := newTopic(t, site.Brokers, 1, map[string]string{"max.message.bytes": fmt.Sprint(3 << 20)})
	fake.configsFail(kerr.TopicAuthorizationFailed, -1)
	b := openBench(t, open, Config(t, site.Brokers))
	for n := range 10 {
		b.send(incompressible(topic, 1000))
		b.send(incompressible(topic, 600_000))
		if n == 5 {
			b.send(incompressible(topic, 3<<20-1000))
		}
	}
	b.allAcked()
}

// Where the limit may not be read, compressed batches stay below Kafka's usual one: a batch that is refused ends the
// producer, and each of its records has to be sent alone.
func testHiddenBatches(t *testing.T, open Open) {
	fake := StartFake(t)
	site := fake.Site()
	topic := newTopic(t, site.Brokers, 1, nil)
	fake.configsFail(kerr.TopicAuthorizationFailed, -1)
	fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		fake.SleepControl(func() { <-time.After(20 * time.Millisecond) }) // so that many come together behind a request
		return nil, nil, false
	})
	cfg := Config(t, site.Brokers)
	cfg.Compression = "gzip"
	b := openBench(t, open, cfg)
	about, err := b.producer.Topic(b.ctx, topic)
	if err != nil || about.MaxMessageBytes != publisher.NoLimit {
		t.Fatalf("%+v, %v", about, err)
	}
	all := incompressible(topic, 500*10_000)
	for values := all.Value; len(values) > 0; values = values[10_000:] {
		b.send(publisher.Record{Topic: topic, Partition: 0, Value: values[:10_000]})
	}
	b.allAcked()
}

// rightsUntold has the broker answer each question for the rights on a topic with the same bits.
func (f *Fake) rightsUntold(t *testing.T, topic string, bits int32) {
	host, port, err := net.SplitHostPort(f.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	about, leader := f.TopicInfo(topic), f.LeaderFor(topic, 0)
	f.ControlKey(int16(kmsg.Metadata), func(asked kmsg.Request) (kmsg.Response, error, bool) {
		f.KeepControl()
		request := asked.(*kmsg.MetadataRequest)
		if !request.IncludeTopicAuthorizedOperations {
			return nil, nil, false
		}
		response := request.ResponseKind().(*kmsg.MetadataResponse)
		response.ControllerID = leader
		response.Brokers = []kmsg.MetadataResponseBroker{{NodeID: leader, Host: host, Port: int32(number)}}
		one := kmsg.NewMetadataResponseTopic()
		one.Topic, one.TopicID, one.AuthorizedOperations = &topic, about.TopicID, bits
		one.Partitions = []kmsg.MetadataResponseTopicPartition{{Leader: leader, Replicas: []int32{leader}, ISR: []int32{leader}}}
		response.Topics = []kmsg.MetadataResponseTopic{one}
		return response, nil, true
	})
}

// A broker that does not fill in what we may do with a topic answers as if it were nothing, or with Kafka's word for
// "not told". The topic is not forbidden for that: whether we may write it, a write tells.
func testUntoldRights(t *testing.T, open Open) {
	for _, bits := range []int32{0, math.MinInt32} {
		fake := StartFake(t)
		site := fake.Site()
		topic := newTopic(t, site.Brokers, 1, nil)
		fake.rightsUntold(t, topic, bits)
		b := openBench(t, open, Config(t, site.Brokers))
		if _, err := b.producer.Topic(b.ctx, topic); err != nil {
			t.Errorf("the broker told %d as rights: %v", bits, err)
			continue
		}
		b.send(publisher.Record{Topic: topic, Partition: 0, Value: []byte("v")})
		b.allAcked()
	}
}
