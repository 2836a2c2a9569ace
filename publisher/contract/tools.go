package contract

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
)

// patience bounds every wait of the suite.
const patience = 30 * time.Second

// Open is the client under test.
type Open func(publisher.Config, publisher.Reports) (publisher.Producer, error)

// Config for a producer on brokers without authentication.
func Config(t testing.TB, brokers []string) publisher.Config {
	return publisher.Config{
		Brokers: brokers, ClientID: "contract", Compression: "none",
		MessageTimeout: 20 * time.Second, MaxInFlightRecords: 20_000, MaxInFlightBytes: 64 << 20,
		Log: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// testLog shows a client's log lines with the test that made them.
type testLog struct{ tb testing.TB }

func (l testLog) Write(line []byte) (int, error) {
	l.tb.Logf("%s", strings.TrimSpace(string(line)))
	return len(line), nil
}

// fate is what became of one record that was sent; its address is the tag.
type fate struct {
	n         int // the how manieth
	partition int32
	offset    int64
	err       error
	reports   int
}

// recorder is the Reports of the suite.
type recorder struct {
	mu      sync.Mutex
	changed chan struct{}
	acked   int
	failed  int
	bad     string // a report that must never come

	// hold, where a test sets it, stops the reader of reports in the ack of a record, until it is closed.
	hold   chan struct{}
	holdAt int
}

func (r *recorder) Acked(tag any, partition int32, offset int64) {
	r.mu.Lock()
	hold := r.hold
	if tag.(*fate).n != r.holdAt {
		hold = nil
	}
	r.mu.Unlock()
	if hold != nil {
		<-hold
	}
	r.book(tag, func(f *fate) {
		if offset < 0 {
			r.bad = fmt.Sprintf("record %d was acked at offset %d", f.n, offset)
		}
		f.partition, f.offset = partition, offset
		r.acked++
	})
}

func (r *recorder) Failed(tag any, err error) {
	r.book(tag, func(f *fate) {
		if err == nil {
			r.bad = fmt.Sprintf("record %d failed without an error", f.n)
		}
		f.err = err
		r.failed++
	})
}

func (r *recorder) book(tag any, write func(*fate)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := tag.(*fate)
	if f.reports++; f.reports > 1 {
		r.bad = fmt.Sprintf("record %d was reported twice", f.n)
	}
	write(f)
	close(r.changed)
	r.changed = make(chan struct{})
}

// bench is one producer under test with what was sent through it.
type bench struct {
	t        testing.TB
	ctx      context.Context
	producer publisher.Producer
	recorder *recorder
	sent     []*fate
}

func openBench(t testing.TB, open Open, cfg publisher.Config) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	t.Cleanup(cancel)
	b := &bench{t: t, ctx: ctx, recorder: &recorder{changed: make(chan struct{})}}
	var err error
	if b.producer, err = open(cfg, b.recorder); err != nil {
		t.Fatalf("open a producer: %v", err)
	}
	t.Cleanup(func() {
		b.producer.Close()
		if n := b.producer.InFlight(); n != 0 {
			t.Errorf("%d records in flight after Close", n)
		}
		b.recorder.mu.Lock()
		defer b.recorder.mu.Unlock()
		if b.recorder.bad != "" {
			t.Error(b.recorder.bad)
		}
		for _, f := range b.sent {
			if f.reports != 1 {
				t.Errorf("record %d was reported %d times", f.n, f.reports)
			}
		}
	})
	return b
}

// trySend sends, and remembers the record if it was taken.
func (b *bench) trySend(r publisher.Record) error {
	f := &fate{n: len(b.sent), offset: -1}
	err := b.producer.Send(b.ctx, &r, f)
	if err == nil {
		b.sent = append(b.sent, f)
	}
	return err
}

func (b *bench) send(r publisher.Record) *fate {
	b.t.Helper()
	if err := b.trySend(r); err != nil {
		b.t.Fatalf("send record %d: %v", len(b.sent), err)
	}
	return b.sent[len(b.sent)-1]
}

// holdBack keeps the reader of reports in the ack of record n until the function it returns is called.
func (b *bench) holdBack(n int) (release func()) {
	hold := make(chan struct{})
	b.recorder.mu.Lock()
	b.recorder.holdAt, b.recorder.hold = n, hold
	b.recorder.mu.Unlock()
	release = sync.OnceFunc(func() { close(hold) })
	b.t.Cleanup(release) // before the producer is closed, which waits for the reader
	return release
}

// settle waits until all that was sent is reported, and returns how many were acked and failed.
func (b *bench) settle() (acked, failed int) {
	b.t.Helper()
	deadline := time.After(patience)
	for {
		b.recorder.mu.Lock()
		acked, failed = b.recorder.acked, b.recorder.failed
		changed := b.recorder.changed
		b.recorder.mu.Unlock()
		if acked+failed == len(b.sent) {
			return acked, failed
		}
		select {
		case <-changed:
		case <-deadline:
			b.t.Fatalf("%d of %d records reported after %v", acked+failed, len(b.sent), patience)
		}
	}
}

// allAcked waits until all that was sent is acked.
func (b *bench) allAcked() {
	b.t.Helper()
	if _, failed := b.settle(); failed > 0 {
		for _, f := range b.sent {
			if f.err != nil {
				b.t.Fatalf("%d records failed, the first is %d: %s", failed, f.n, publisher.Reason(f.err))
			}
		}
	}
}

// eventually polls until the condition holds.
func eventually(t testing.TB, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// admin is franz-go's, for the setting of the stage.
func admin(t testing.TB, brokers []string, opts ...kgo.Opt) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(100 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

var topicNumber atomic.Int64

func unusedName() string {
	return fmt.Sprintf("contract-%d-%d", time.Now().UnixNano(), topicNumber.Add(1))
}

func newTopic(t testing.TB, brokers []string, partitions int32, config map[string]string) string {
	t.Helper()
	name := unusedName()
	createTopic(t, brokers, name, partitions, config)
	return name
}

func createTopic(t testing.TB, brokers []string, name string, partitions int32, config map[string]string) {
	t.Helper()
	values := map[string]*string{}
	for k, v := range config {
		values[k] = &v
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stage := admin(t, brokers)
	if _, err := stage.CreateTopic(ctx, partitions, 1, values, name); err != nil {
		t.Fatalf("create topic %s: %v", name, err)
	}
	eventually(t, patience, "the broker knows the topic its controller made", func() bool {
		topics, err := stage.ListTopics(ctx, name)
		return err == nil && topics[name].Err == nil && len(topics[name].Partitions) == int(partitions)
	})
}

// endOf is the number of records of a topic that nothing was deleted from.
func endOf(t testing.TB, stage *kadm.Client, topic string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ends, err := stage.ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatalf("ask for the end of %s: %v", topic, err)
	}
	n := 0
	ends.Each(func(o kadm.ListedOffset) { n += int(o.Offset) })
	return n
}

// readAll reads what the topic holds, by partition.
func readAll(t testing.TB, brokers []string, topic string, opts ...kgo.Opt) map[int32][]*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ends, err := admin(t, brokers, opts...).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatalf("ask for the end of %s: %v", topic, err)
	}
	consumer, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	result := map[int32][]*kgo.Record{}
	missing := 0
	ends.Each(func(o kadm.ListedOffset) { missing += int(o.Offset) })
	for missing > 0 {
		fetches := consumer.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("read %s: %d records are missing: %v", topic, missing, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			result[r.Partition] = append(result[r.Partition], r)
			missing--
		})
	}
	return result
}

// total counts the records of all partitions.
func total(records map[int32][]*kgo.Record) int {
	n := 0
	for _, p := range records {
		n += len(p)
	}
	return n
}
