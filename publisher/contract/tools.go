package contract

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

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
	return startBench(t, func(_ context.Context, reports publisher.Reports) (publisher.Producer, error) {
		return open(cfg, reports)
	})
}

func startBench(t testing.TB, open func(context.Context, publisher.Reports) (publisher.Producer, error)) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	t.Cleanup(cancel)
	b := &bench{t: t, ctx: ctx, recorder: &recorder{changed: make(chan struct{})}}
	var err error
	if b.producer, err = open(ctx, b.recorder); err != nil {
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

// settle waits until all that was sent is reported, and returns how many failed.
func (b *bench) settle() (failed int) {
	b.t.Helper()
	deadline := time.After(patience)
	for {
		b.recorder.mu.Lock()
		acked, failed := b.recorder.acked, b.recorder.failed
		changed := b.recorder.changed
		b.recorder.mu.Unlock()
		if acked+failed == len(b.sent) {
			return failed
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
	if failed := b.settle(); failed > 0 {
		for _, f := range b.sent {
			if f.err != nil {
				b.t.Fatalf("%d records failed, the first is %d: %s", failed, f.n, publisher.Reason(f.err))
			}
		}
	}
}
