package contract

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

func testLimit(t *testing.T, open Open, site Site) {
	const limit = 10_000
	topic := newTopic(t, site.Brokers, 2, map[string]string{"max.message.bytes": fmt.Sprint(limit)})
	b := openBench(t, open, Config(t, site.Brokers))
	about, err := b.producer.Topic(b.ctx, topic)
	if err != nil || about.MaxMessageBytes != limit || about.Partitions != 2 || about.Compacted {
		t.Fatalf("topic: %+v, %v", about, err)
	}
	fits := publisher.Record{Topic: topic, Partition: 0, Key: []byte("k")}
	for fits.BatchSize() < limit {
		fits.Value = append(fits.Value, 'x')
	}
	b.send(fits)
	over := fits
	over.Value = append(slices.Clone(fits.Value), 'x')
	if err := b.trySend(over); !publisher.Rejected(err) || publisher.Class(err) != publisher.ClassTooLarge {
		t.Errorf("%d bytes, limit %d: %v", over.BatchSize(), limit, err)
	}
	// The limit is one for batches: small records must not be gathered beyond it.
	for n := range 500 {
		b.send(publisher.Record{Topic: topic, Partition: int32(n % 2), Value: bytes.Repeat([]byte("y"), 1000)})
	}
	b.allAcked()
}

func testCompacted(t *testing.T, open Open, site Site) {
	topic := newTopic(t, site.Brokers, 1, map[string]string{"cleanup.policy": "compact"})
	b := openBench(t, open, Config(t, site.Brokers))
	if about, err := b.producer.Topic(b.ctx, topic); err != nil || !about.Compacted {
		t.Fatalf("topic: %+v, %v", about, err)
	}
	if err := b.trySend(publisher.Record{Topic: topic, Value: []byte("v")}); !publisher.Rejected(err) {
		t.Errorf("a record without a key on a compacted topic: %v", err)
	}
	b.send(publisher.Record{Topic: topic, Key: []byte{}, Value: nil})
	b.allAcked()
}

// A record that only the broker can judge is refused in mid-stream: what is stored must be a clean prefix, whatever
// was on its way behind it, and however late the relay hears of it.
func testGapless(t *testing.T, open Open, site Site) {
	const limit, before, after = 600_000, 100, 300
	topic := newTopic(t, site.Brokers, 1, map[string]string{"max.message.bytes": fmt.Sprint(limit)})
	cfg := Config(t, site.Brokers)
	cfg.Compression = "gzip" // so that the size on the wire is not known when it is sent
	// Requests of few records, so that several are on their way behind the refused one.
	cfg.Properties = map[string]string{"batch.num.messages": "2", "linger.ms": "0"}
	b := openBench(t, open, cfg)
	small := publisher.Record{Topic: topic, Partition: 0, Value: []byte("v")}
	for range before - 1 {
		b.send(small)
	}
	b.allAcked()
	release := b.holdBack(before - 1)
	b.send(small)
	b.send(incompressible(topic, limit+100_000))
	for range after {
		if err := b.trySend(small); err != nil {
			break
		}
	}
	stage := admin(t, site.Brokers)
	for until := time.Now().Add(300 * time.Millisecond); time.Now().Before(until); {
		if n := endOf(t, stage, topic); n > before {
			t.Errorf("%d records stored, want the %d before the refused one", n, before)
			break
		}
	}
	release()
	b.settle()
	<-b.producer.Dead()
	if err := b.producer.Err(); !publisher.Fatal(err) {
		t.Errorf("why it is dead: %v", err)
	}
	if err := b.trySend(small); !publisher.Fatal(err) {
		t.Errorf("send to a dead producer: %v", err)
	}
	if err := b.sent[before].err; !publisher.Rejected(err) || publisher.Class(err) != publisher.ClassTooLarge {
		t.Errorf("the refused record: %v", err)
	}
	for _, f := range b.sent[before+1:] {
		if f.err == nil {
			t.Errorf("record %d passed the refused one, record %d", f.n, before)
		}
	}
	if n := endOf(t, stage, topic); n != before {
		t.Errorf("%d records stored, want the %d before the refused one", n, before)
	}
}

func incompressible(topic string, size int) publisher.Record {
	random := rand.New(rand.NewPCG(3, 4))
	value := make([]byte, size)
	for i := range value {
		value[i] = byte(random.Uint32())
	}
	return publisher.Record{Topic: topic, Partition: 0, Value: value}
}

func testMissing(t *testing.T, open Open, site Site) {
	b := openBench(t, open, Config(t, site.Brokers))
	name := unusedName()
	for range 2 {
		if _, err := b.producer.Topic(b.ctx, name); !publisher.TopicTrouble(err) ||
			publisher.Class(err) != publisher.ClassNoTopic {
			t.Errorf("ask for a missing topic: %v", err)
		}
	}
	if err := b.trySend(publisher.Record{Topic: name, Value: []byte("v")}); publisher.Class(err) != publisher.ClassNoTopic {
		t.Errorf("send to a missing topic: %v", err)
	}
	for _, name := range []string{"", ".", "a b", "a\x00b", string(bytes.Repeat([]byte("x"), 250))} {
		if _, err := b.producer.Topic(b.ctx, name); publisher.Class(err) != publisher.ClassInvalidTopic {
			t.Errorf("topic %.10q: %v", name, err)
		}
	}
	select {
	case <-b.producer.Dead():
		t.Error("a missing topic ended the producer")
	default:
	}
}

func testAppears(t *testing.T, open Open, site Site) {
	b := openBench(t, open, Config(t, site.Brokers))
	name := unusedName()
	if _, err := b.producer.Topic(b.ctx, name); !publisher.TopicTrouble(err) {
		t.Fatalf("before it is there: %v", err)
	}
	createTopic(t, site.Brokers, name, 3, nil)
	eventually(t, 10*time.Second, "the topic that appeared is usable", func() bool {
		_, err := b.producer.Topic(b.ctx, name)
		return err == nil
	})
	for n := range 20 {
		b.send(publisher.Record{Topic: name, Partition: int32(n % 3), Value: []byte("v")})
	}
	b.allAcked()
}

func testAway(t *testing.T, open Open, site Site) {
	if site.Away == nil {
		t.Skip("this cluster's brokers cannot be sent away")
	}
	topic := newTopic(t, site.Brokers, 1, nil)
	b := openBench(t, open, Config(t, site.Brokers))
	for n := range 1500 {
		if n == 500 {
			site.Away()
		}
		if n == 1000 {
			site.Back()
		}
		b.send(publisher.Record{Topic: topic, Partition: 0, Value: fmt.Append(nil, n)})
	}
	b.allAcked()
	for n, r := range readAll(t, site.Brokers, topic)[0] {
		if string(r.Value) != fmt.Sprint(n) {
			t.Fatalf("offset %d holds record %s", n, r.Value)
		}
	}
}

func testClose(t *testing.T, open Open, site Site) {
	if site.Away == nil {
		t.Skip("this cluster's brokers cannot be sent away")
	}
	topic := newTopic(t, site.Brokers, 2, nil)
	b := openBench(t, open, Config(t, site.Brokers))
	for n := range 2 {
		b.send(publisher.Record{Topic: topic, Partition: int32(n)})
	}
	b.allAcked()
	site.Away()
	defer site.Back()
	for n := range 1000 {
		b.send(publisher.Record{Topic: topic, Partition: int32(n % 2), Value: []byte("v")})
	}
	b.producer.Close() // the cleanup checks that each was reported once
	for _, f := range b.sent[2:] {
		if f.err == nil || publisher.Rejected(f.err) || publisher.TopicTrouble(f.err) {
			t.Fatalf("record %d, in flight at Close: %v", f.n, f.err)
		}
	}
	if err := b.trySend(publisher.Record{Topic: topic}); !publisher.Fatal(err) {
		t.Errorf("send after Close: %v", err)
	}
	b.producer.Close()
}

// Slow start holds the second record of a partition back until the first was acked, but no longer than the caller
// wants, and not when the producer ends.
func testBounded(t *testing.T, open Open, site Site) {
	if site.Away == nil {
		t.Skip("this cluster's brokers cannot be sent away")
	}
	topic := newTopic(t, site.Brokers, 1, nil)
	b := openBench(t, open, Config(t, site.Brokers))
	if _, err := b.producer.Topic(b.ctx, topic); err != nil {
		t.Fatal(err)
	}
	site.Away()
	defer site.Back()
	record := publisher.Record{Topic: topic, Partition: 0, Value: []byte("v")}
	b.send(record)
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	if err := b.producer.Send(ctx, &record, nil); err == nil || publisher.Fatal(err) {
		t.Fatalf("the second record did not wait: %v", err)
	}
	ended := make(chan error)
	go func() { ended <- b.producer.Send(b.ctx, &record, nil) }()
	b.producer.Close()
	if err := <-ended; !publisher.Fatal(err) {
		t.Errorf("a Send that waited while the producer ended: %v", err)
	}
}
