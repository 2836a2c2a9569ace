package contract

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/outboxrelay/relay/publisher"
)

// RunFaults holds a client to the contract against brokers that misbehave on demand, all in this process.
func RunFaults(t *testing.T, open Open) {
	for name, test := range map[string]func(*testing.T, Open){
		"StartsSlowly":                   testSlowStart,
		"TrustsNoSuccessWithoutAnOffset": testNoOffset,
		"LetsNothingPassATimeOut":        testTimeOut,
		"DoesNotDenyWhatIsStored":        testStoredAndDenied,
		"EndsWhenFenced":                 testFenced,
		"EndsWhenTheBrokerHasForgotten":  testForgotten,
		"BlamesTheTopicWhenForbidden":    testForbidden,
		"HealsWhenTheRightAppears":       testGranted,
		"SendsWhereRightsAreNotTold":     testUntoldRights,
		"DoesNotBlameTopicsForAPassword": testPassword,
		"DoesNotBlameTopicsForAnOutage":  testOutage,
		"ReportsAQuota":                  testQuota,
		"AsksAgainForAConfiguration":     testUnheardOf,
		"LetsTheBrokerDecide":            testHiddenLimit,
		"KeepsBatchesToTheUsualLimit":    testHiddenBatches,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// The first request to a partition is refused for a moment while others follow. A client with several requests under
// way gets the second one stored, by a broker that knows nothing of this producer, and the first one never: it comes
// back as out of order, or as a duplicate without an offset.
func testSlowStart(t *testing.T, open Open) {
	fake := StartFake(t)
	site := fake.Site()
	topic := newTopic(t, site.Brokers, 1, nil)
	first := openBench(t, open, Config(t, site.Brokers))
	first.send(publisher.Record{Topic: topic, Partition: 0, Value: []byte("before")}) // brokers are lenient only after
	first.allAcked()

	refused := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: 1})
	cfg := Config(t, site.Brokers)
	cfg.Properties = map[string]string{"batch.num.messages": "1", "linger.ms": "0"}
	b := openBench(t, open, cfg)
	for n := range 20 {
		b.send(publisher.Record{Topic: topic, Partition: 0, Value: fmt.Append(nil, n)})
	}
	b.allAcked()
	if refused.Hits() != 1 {
		t.Fatalf("the broker refused %d requests, want 1", refused.Hits())
	}
	stored := readAll(t, site.Brokers, topic)[0][1:]
	if len(stored) != 20 {
		t.Fatalf("%d of 20 records stored", len(stored))
	}
	for n, r := range stored {
		if string(r.Value) != fmt.Sprint(n) {
			t.Errorf("record %s stored as number %d", r.Value, n)
		}
	}
}

// A broker that takes a record for a duplicate says success and no offset; the record may never have been stored.
func testNoOffset(t *testing.T, open Open) {
	fake := StartFake(t)
	site := fake.Site()
	topic := newTopic(t, site.Brokers, 1, nil)
	b := openBench(t, open, Config(t, site.Brokers))
	b.send(publisher.Record{Topic: topic, Partition: 0, Value: []byte("stored")})
	b.allAcked()
	fake.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		return takenForADuplicate(request.(*kmsg.ProduceRequest)), nil, true
	})
	lost := b.send(publisher.Record{Topic: topic, Partition: 0, Value: []byte("never stored")})
	b.settle()
	if !publisher.NoOffset(lost.err) || !publisher.MaybeWritten(lost.err) {
		t.Fatalf("a record that was never stored: acked at %d, %v", lost.offset, lost.err)
	}
	if n := total(readAll(t, site.Brokers, topic)); n != 1 {
		t.Fatalf("%d records stored, want 1: this test proves nothing", n)
	}
	<-b.producer.Dead()
}

// takenForADuplicate is Kafka's answer to a batch that it believes to have, older than the last five: no offset.
func takenForADuplicate(request *kmsg.ProduceRequest) kmsg.Response {
	response := request.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range request.Topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			partition := kmsg.NewProduceResponseTopicPartition()
			partition.Partition, partition.ErrorCode = p.Partition, kerr.DuplicateSequenceNumber.Code
			partition.BaseOffset, partition.LogAppendTime = -1, -1
			topic.Partitions = append(topic.Partitions, partition)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response
}

// The brokers are away for longer than the message timeout. Once a record timed out, none behind it may be stored
// when they come back, or the resend of the first would lie behind it. That must not depend on how soon the relay
// hears of the first one.
func testTimeOut(t *testing.T, open Open) {
	fake := StartFake(t)
	site := fake.Site()
	topic := newTopic(t, site.Brokers, 1, nil)
	cfg := Config(t, site.Brokers)
	cfg.MessageTimeout = 3 * time.Second
	b := openBench(t, open, cfg)
	release := b.holdBack(1)
	record := publisher.Record{Topic: topic, Partition: 0, Value: []byte("v")}
	b.send(record)
	b.allAcked()
	b.send(record) // its ack holds the reader
	stage := admin(t, site.Brokers)
	eventually(t, patience, "the held record is stored", func() bool { return endOf(t, stage, topic) == 2 })

	site.Away()
	tick := time.NewTicker(20 * time.Millisecond) // records of every age, as a stream has them
	defer tick.Stop()
	for until := time.Now().Add(cfg.MessageTimeout + time.Second); time.Now().Before(until); <-tick.C {
		if err := b.trySend(record); err != nil && !publisher.Fatal(err) {
			t.Fatalf("send while the brokers are away: %v", err)
		}
	}
	site.Back()
	stage = admin(t, site.Brokers)
	for until := time.Now().Add(2 * time.Second); time.Now().Before(until); <-tick.C {
		if n := endOf(t, stage, topic); n > 2 {
			t.Fatalf("%d records passed one that timed out", n-2)
		}
	}
	release()
	b.settle()
	<-b.producer.Dead()
	if err := b.sent[2].err; !publisher.MaybeWritten(err) {
		t.Errorf("a record the brokers never saw: %v", err)
	}
	if err := b.producer.Err(); publisher.Class(err) != publisher.ClassTimedOut || !publisher.Fatal(err) {
		t.Errorf("why the producer is dead: %v", err)
	}
}

// oneAcked is a producer that has had one record acked, in a topic of one partition, and the record.
func oneAcked(t *testing.T, open Open) (fake *Fake, b *bench, record publisher.Record) {
	fake = StartFake(t)
	site := fake.Site()
	b = openBench(t, open, Config(t, site.Brokers))
	record = publisher.Record{Topic: newTopic(t, site.Brokers, 1, nil), Partition: 0, Value: []byte("v")}
	b.send(record)
	b.allAcked()
	return fake, b, record
}

// The broker stores a record and answers that too few replicas have it, for as long as it is asked. A record that is
// given up between two tries must not be called unwritten.
func testStoredAndDenied(t *testing.T, open Open) {
	fake, b, record := oneAcked(t, open)
	denied := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: -1})
	stored := b.send(record)
	if err := denied.Wait(b.ctx, 3); err != nil {
		t.Fatal(err)
	}
	if n := endOf(t, admin(t, fake.Site().Brokers), record.Topic); n != 2 {
		t.Fatalf("%d records stored, want 2: this test proves nothing", n)
	}
	b.producer.Close()
	if stored.err == nil || !publisher.MaybeWritten(stored.err) {
		t.Errorf("a record that is stored: %s", publisher.Reason(stored.err))
	}
}

func testFenced(t *testing.T, open Open) {
	fake, b, record := oneAcked(t, open)
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.ProducerFenced, Count: -1})
	fenced := b.send(record)
	b.settle()
	if !publisher.MaybeWritten(fenced.err) {
		t.Errorf("the fenced record: %v", fenced.err)
	}
	<-b.producer.Dead()
	if err := b.trySend(record); !publisher.Fatal(err) {
		t.Errorf("send after fencing: %v", err)
	}
}

// The broker misses records that it has acked, as after an unclean election. What follows them must not be stored as if
// nothing had happened: the producer ends, and its user goes back to what it has written down as acked.
func testForgotten(t *testing.T, open Open) {
	fake, b, record := oneAcked(t, open)
	forgotten := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.OutOfOrderSequenceNumber, Count: 1})
	next := b.send(record)
	b.settle()
	if publisher.Class(next.err) != publisher.ClassOutOfSequence || !publisher.MaybeWritten(next.err) {
		t.Fatalf("the record behind those that the broker misses: acked at %d, %v", next.offset, next.err)
	}
	<-b.producer.Dead()
	if err := b.producer.Err(); publisher.Class(err) != publisher.ClassOutOfSequence || !publisher.Fatal(err) {
		t.Errorf("why the producer is dead: %v", err)
	}
	b.producer.Close()
	if n := endOf(t, admin(t, fake.Site().Brokers), record.Topic); n != 1 || forgotten.Hits() != 1 {
		t.Errorf("%d records stored after %d refusals, want 1 after 1", n, forgotten.Hits())
	}
}

func testQuota(t *testing.T, open Open) {
	fake := StartFake(t)
	site := fake.Site()
	topic := newTopic(t, site.Brokers, 1, nil)
	b := openBench(t, open, Config(t, site.Brokers))
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.ThrottlingQuotaExceeded, Count: 1})
	r := b.send(publisher.Record{Topic: topic, Partition: 0, Value: []byte("v")})
	if failed := b.settle(); failed == 1 && !publisher.Throttled(r.err) {
		t.Errorf("over a quota: %v", r.err)
	}
}

const scramUser, scramPassword = "relay", "correct horse"

// guarded is a broker that asks who we are and what we may.
func guarded(t *testing.T, rights ...kfake.ACL) (*Fake, kgo.Opt) {
	const boss, bossPassword = "admin", "admin"
	fake := StartFake(t, kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("SCRAM-SHA-256", boss, bossPassword),
		kfake.User("SCRAM-SHA-256", scramUser, scramPassword, rights...))
	return fake, kgo.SASL(scram.Auth{User: boss, Pass: bossPassword}.AsSha256Mechanism())
}

func guardedConfig(t *testing.T, fake *Fake) publisher.Config {
	cfg := Config(t, fake.ListenAddrs())
	cfg.SASL = publisher.SASL{Mechanism: "SCRAM-SHA-256", Username: scramUser, Password: scramPassword}
	return cfg
}

func right(topic string, operation kmsg.ACLOperation) kfake.ACL {
	return kfake.ACL{
		Resource: kmsg.ACLResourceTypeTopic, Name: topic, Pattern: kmsg.ACLResourcePatternTypeLiteral,
		Operation: operation, Allow: true,
	}
}

func testForbidden(t *testing.T, open Open) {
	fake, boss := guarded(t,
		right("readable", kmsg.ACLOperationDescribe), right("readable", kmsg.ACLOperationRead),
		right("writable", kmsg.ACLOperationWrite))
	for _, name := range []string{"readable", "writable", "hidden"} {
		if _, err := admin(t, fake.ListenAddrs(), boss).CreateTopic(t.Context(), 1, 1, nil, name); err != nil {
			t.Fatal(err)
		}
	}
	b := openBench(t, open, guardedConfig(t, fake))
	for _, name := range []string{"readable", "hidden", "unknown"} {
		_, err := b.producer.Topic(b.ctx, name)
		if !publisher.TopicTrouble(err) || publisher.Class(err) != publisher.ClassForbidden {
			t.Errorf("topic %s: %v", name, err)
		}
		err = b.trySend(publisher.Record{Topic: name, Value: []byte("v")})
		if !publisher.TopicTrouble(err) {
			t.Errorf("send to topic %s: %v", name, err)
		}
	}
	about, err := b.producer.Topic(b.ctx, "writable")
	if err != nil || about.MaxMessageBytes != publisher.NoLimit {
		t.Errorf("a topic whose configuration may not be read: %+v, %v", about, err)
	}
	b.send(publisher.Record{Topic: "writable", Partition: 0, Value: []byte("v")})
	b.allAcked()
}

func testGranted(t *testing.T, open Open) {
	// Some topic has to be writable: without any, Kafka refuses idempotent producers altogether.
	fake, boss := guarded(t, right("other", kmsg.ACLOperationWrite))
	authority := admin(t, fake.ListenAddrs(), boss)
	if _, err := authority.CreateTopic(t.Context(), 1, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	b := openBench(t, open, guardedConfig(t, fake))
	if _, err := b.producer.Topic(b.ctx, "orders"); publisher.Class(err) != publisher.ClassForbidden {
		t.Fatalf("before the right is granted: %v", err)
	}
	grant := kadm.NewACLs().Topics("orders").Allow("User:"+scramUser).AllowHosts("*").
		Operations(kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe).ResourcePatternType(kadm.ACLPatternLiteral)
	if r, err := authority.CreateACLs(t.Context(), grant); err != nil || r[0].Err != nil {
		t.Fatalf("grant: %v %v", r, err)
	}
	eventually(t, 10*time.Second, "the granted topic is usable", func() bool {
		_, err := b.producer.Topic(b.ctx, "orders")
		return err == nil
	})
	b.send(publisher.Record{Topic: "orders", Partition: 0, Value: []byte("v")})
	b.allAcked()
}

func testPassword(t *testing.T, open Open) {
	fake, _ := guarded(t)
	cfg := guardedConfig(t, fake)
	cfg.SASL.Password = "wrong"
	b := openBench(t, open, cfg)
	if _, err := b.producer.Topic(b.ctx, "orders"); err == nil || publisher.TopicTrouble(err) || publisher.Rejected(err) {
		t.Errorf("with a wrong password: %v", err)
	}
}

func testOutage(t *testing.T, open Open) {
	fake := StartFake(t)
	site := fake.Site()
	topic := newTopic(t, site.Brokers, 1, nil)
	site.Away()
	b := openBench(t, open, Config(t, site.Brokers))
	if _, err := b.producer.Topic(b.ctx, topic); publisher.Class(err) != publisher.ClassTransport {
		t.Errorf("while the brokers are away: %s", publisher.Reason(err))
	}
	site.Back()
	eventually(t, 10*time.Second, "the topic is usable after the outage", func() bool {
		_, err := b.producer.Topic(b.ctx, topic)
		return err == nil
	})
	// What was known before an outage stays known in it.
	site.Away()
	if _, err := b.producer.Topic(b.ctx, topic); err != nil {
		t.Errorf("a topic that was known: %v", err)
	}
	site.Back()
}
