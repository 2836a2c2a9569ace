package contract

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
)

func testEachOnce(t *testing.T, open Open, site Site) {
	const partitions, records = 4, 10_000
	topic := newTopic(t, site.Brokers, partitions, nil)
	b := openBench(t, open, Config(t, site.Brokers))
	random := rand.New(rand.NewPCG(1, 2))
	make1 := func(n int) publisher.Record {
		return publisher.Record{
			Topic: topic, Partition: publisher.AnyPartition,
			Key:   fmt.Appendf(nil, "key-%d", random.IntN(1000)),
			Value: fmt.Appendf(nil, `{"n":%d,"text":"ü\u0000%x"}`, n, random.Uint64()),
			Headers: []publisher.Header{
				{Key: "id", Value: fmt.Appendf(nil, "%032x", n)}, {Key: "type", Value: []byte("Placed")},
				{Key: "bytes", Value: []byte{0, 0xff, byte(n)}},
			},
		}
	}
	want := make([]publisher.Record, records)
	var reused publisher.Record // the caller may overwrite everything as soon as Send returns
	for n := range want {
		want[n] = make1(n)
		reused.Topic, reused.Partition = topic, publisher.AnyPartition
		reused.Key = append(reused.Key[:0], want[n].Key...)
		reused.Value = append(reused.Value[:0], want[n].Value...)
		reused.Headers = reused.Headers[:0]
		for _, h := range want[n].Headers {
			reused.Headers = append(reused.Headers, publisher.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
		}
		b.send(reused)
		for i := range reused.Headers {
			clear(reused.Headers[i].Value)
		}
		clear(reused.Key)
		clear(reused.Value)
	}
	b.allAcked()

	stored := readAll(t, site.Brokers, topic)
	if n := total(stored); n != records {
		t.Fatalf("%d records sent, %d stored", records, n)
	}
	next := map[int32]int64{}
	for n, f := range b.sent {
		if f.offset != next[f.partition] {
			t.Fatalf("record %d lies at %d[%d], the one before it at %d", n, f.partition, f.offset, next[f.partition]-1)
		}
		next[f.partition]++
		same(t, n, stored[f.partition][f.offset], want[n])
	}
}

// same compares what is stored with what was sent, null and empty told apart.
func same(t *testing.T, n int, got *kgo.Record, want publisher.Record) {
	t.Helper()
	sameBytes := func(what string, got, want []byte) {
		if (got == nil) != (want == nil) || !bytes.Equal(got, want) {
			t.Errorf("record %d: %s is %q (null %t), sent %q (null %t)", n, what, got, got == nil, want, want == nil)
		}
	}
	sameBytes("key", got.Key, want.Key)
	sameBytes("value", got.Value, want.Value)
	if len(got.Headers) != len(want.Headers) {
		t.Fatalf("record %d: %d headers, sent %d", n, len(got.Headers), len(want.Headers))
	}
	for i, h := range want.Headers {
		if got.Headers[i].Key != h.Key {
			t.Errorf("record %d: header %d is %q, sent %q", n, i, got.Headers[i].Key, h.Key)
		}
		sameBytes("header "+h.Key, got.Headers[i].Value, h.Value)
	}
}

// Another client's records with the same keys have to lie in the same partitions.
func testPartitions(t *testing.T, open Open, site Site) {
	const partitions = 7
	ours, theirs := newTopic(t, site.Brokers, partitions, nil), newTopic(t, site.Brokers, partitions, nil)
	keys := []string{"", "a", "ab", "abc", "abcd", "21", "foobar", "größe", "日本", "\xff\xfe\x00", "a-little-bit-long-string"}
	for n := range 100 {
		keys = append(keys, fmt.Sprintf("order-%d", n))
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(site.Brokers...), kgo.DefaultProduceTopic(theirs),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	b := openBench(t, open, Config(t, site.Brokers))
	want := map[string]int32{}
	for _, key := range keys {
		b.send(publisher.Record{Topic: ours, Partition: publisher.AnyPartition, Key: []byte(key), Value: []byte("v")})
		r := client.ProduceSync(b.ctx, &kgo.Record{Key: []byte(key), Value: []byte("v")})
		if r.FirstErr() != nil {
			t.Fatal(r.FirstErr())
		}
		want[key] = r[0].Record.Partition
	}
	b.allAcked()
	for n, key := range keys {
		if b.sent[n].partition != want[key] {
			t.Errorf("key %q: partition %d, another client's is %d", key, b.sent[n].partition, want[key])
		}
	}
}

func testNulls(t *testing.T, open Open, site Site) {
	topic := newTopic(t, site.Brokers, 1, nil)
	b := openBench(t, open, Config(t, site.Brokers))
	empty := []byte{}
	want := []publisher.Record{
		{},
		{Key: empty, Value: empty},
		{Key: []byte("k")},
		{Value: []byte("v")},
		{Key: empty, Headers: []publisher.Header{{Key: "null"}, {Key: "empty", Value: empty}, {Key: "full", Value: []byte("x")}}},
		{Value: empty, Headers: []publisher.Header{{Key: "twice", Value: []byte("1")}, {Key: "twice", Value: []byte("2")}, {Key: ""}}},
		{Value: []byte{0}, Key: []byte{0}, Headers: []publisher.Header{{Key: "größe", Value: []byte{0, 0}}}},
	}
	for _, r := range want {
		r.Topic, r.Partition = topic, 0
		b.send(r)
	}
	b.allAcked()
	stored := readAll(t, site.Brokers, topic)[0]
	for n := range want {
		same(t, n, stored[n], want[n])
	}
}

func testExplicit(t *testing.T, open Open, site Site) {
	topic := newTopic(t, site.Brokers, 5, nil)
	b := openBench(t, open, Config(t, site.Brokers))
	for n := range 50 {
		b.send(publisher.Record{Topic: topic, Partition: int32(n % 5), Key: []byte("same"), Value: []byte("v")})
	}
	b.allAcked()
	for n, f := range b.sent {
		if f.partition != int32(n%5) {
			t.Errorf("record %d: partition %d, asked for %d", n, f.partition, n%5)
		}
	}
	for _, p := range []int32{5, 99, -2} {
		err := b.trySend(publisher.Record{Topic: topic, Partition: p, Value: []byte("v")})
		if !publisher.Rejected(err) || publisher.Class(err) != publisher.ClassBadPartition {
			t.Errorf("partition %d of 5: %v", p, err)
		}
	}
}

func testSpread(t *testing.T, open Open, site Site) {
	topic := newTopic(t, site.Brokers, 4, nil)
	b := openBench(t, open, Config(t, site.Brokers))
	for range 2000 {
		b.send(publisher.Record{Topic: topic, Partition: publisher.AnyPartition, Value: []byte("v")})
	}
	b.allAcked()
	for p, records := range readAll(t, site.Brokers, topic) {
		if len(records) < 250 {
			t.Errorf("%d of 2000 records without a key in partition %d of 4", len(records), p)
		}
	}
}

func testTimestamp(t *testing.T, open Open, site Site) {
	topic := newTopic(t, site.Brokers, 1, nil)
	b := openBench(t, open, Config(t, site.Brokers))
	begin := time.Now().Add(-time.Second)
	old := begin.Add(-time.Hour).Truncate(time.Millisecond)
	b.send(publisher.Record{Topic: topic, Partition: 0, Timestamp: old})
	b.send(publisher.Record{Topic: topic, Partition: 0})
	b.allAcked()
	stored := readAll(t, site.Brokers, topic)[0]
	if !stored[0].Timestamp.Equal(old) {
		t.Errorf("timestamp %v, sent %v", stored[0].Timestamp, old)
	}
	if now := stored[1].Timestamp; now.Before(begin) || now.After(time.Now().Add(time.Second)) {
		t.Errorf("timestamp %v, sent without one at %v", now, begin)
	}
}

// testFlush holds a client that keeps records back for ten seconds to its promise: Flush sends them, and so does
// whoever waits for a report himself, as slow start does.
func testFlush(t *testing.T, open Open, site Site) {
	const held = 10 * time.Second
	topic := newTopic(t, site.Brokers, 1, nil)
	cfg := Config(t, site.Brokers)
	cfg.Properties = map[string]string{"linger.ms": fmt.Sprint(held.Milliseconds())}
	b := openBench(t, open, cfg)
	began := time.Now()
	record := publisher.Record{Topic: topic, Partition: 0, Value: []byte("v")}
	b.send(record)
	b.send(record)
	if took := time.Since(began); took > held/2 {
		t.Errorf("the second record of a partition waited %v for the first one's ack", took)
	}
	b.producer.Flush()
	b.allAcked()
	if took := time.Since(began); took > held/2 {
		t.Errorf("after Flush the acks took %v", took)
	}
}
