package tracing

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// queueSpans is how many finished spans wait for the collector at most: about 400 kB.
	queueSpans = 2048
	// batchSpans and batchWithin bound one request: whichever comes first.
	batchSpans  = 512
	batchWithin = time.Second
	// tries is how often one request is sent before its spans are given up.
	tries = 3
	// lastWithin bounds what is sent at the end: a stop must not wait for a collector.
	lastWithin = 2 * time.Second
	// sayEvery is the least time between two lines about a collector that does not answer.
	sayEvery = time.Minute
)

// Options are what a Tracer needs.
type Options struct {
	Exporter  *Exporter
	PerSecond int // spans begun in any second at most, and in one burst
	Log       *slog.Logger
}

// Tracer takes spans and sends them. Begin and End are safe for concurrent use; Run is for one goroutine.
type Tracer struct {
	exporter  *Exporter
	perSecond int
	log       *slog.Logger
	queue     chan Span

	mu     sync.Mutex
	tokens float64
	filled time.Time

	exported, limited, full, lost atomic.Int64
}

// New makes a tracer that sends nothing before Run.
func New(o Options) *Tracer {
	return &Tracer{exporter: o.Exporter, perSecond: o.PerSecond, log: o.Log, queue: make(chan Span, queueSpans),
		tokens: float64(o.PerSecond), filled: time.Now()}
}

// PerSecond is how many spans are begun in a second at most.
func (t *Tracer) PerSecond() int { return t.perSecond }

// Begin makes the span of an event whose trace is sampled, and says false when there were too many just now.
func (t *Tracer) Begin(p Parent) (Span, bool) {
	if !t.take(time.Now()) {
		t.limited.Add(1)
		return Span{}, false
	}
	s := Span{Parent: p, Partition: -1, Offset: -1}
	for s.ID == [8]byte{} {
		binary.NativeEndian.PutUint64(s.ID[:], rand.Uint64())
	}
	return s, true
}

// take takes a token, of which PerSecond come each second and no more than that are kept.
func (t *Tracer) take(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	rate := float64(t.perSecond)
	t.tokens = min(rate, t.tokens+now.Sub(t.filled).Seconds()*rate)
	t.filled = now
	if t.tokens < 1 {
		return false
	}
	t.tokens--
	return true
}

// Drop counts a span that was begun and has no place to be kept, as one too many.
func (t *Tracer) Drop() { t.limited.Add(1) }

// End queues a finished span. When the queue is full the span is dropped and counted.
func (t *Tracer) End(s *Span) {
	select {
	case t.queue <- *s:
	default:
		t.full.Add(1)
	}
}

// Counts are spans since the tracer was made.
type Counts struct {
	Exported  int64 // the collector took them
	Limited   int64 // not begun: there were more than PerSecond
	QueueFull int64 // dropped: the collector is slower than they come
	Failed    int64 // dropped: the collector did not answer, or refused them
}

// Counts reads them.
func (t *Tracer) Counts() Counts {
	return Counts{Exported: t.exported.Load(), Limited: t.limited.Load(), QueueFull: t.full.Load(), Failed: t.lost.Load()}
}

// Run sends spans until ctx ends, then what is queued, within two seconds. It always returns nil: a collector is
// nothing that anybody ends for.
func (t *Tracer) Run(ctx context.Context) error {
	defer t.exporter.close()
	working, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastWithin, cut) })()
	says := voice{log: t.log}
	batch := make([]Span, 0, batchSpans)
	for {
		if batch = t.gather(ctx, batch[:0]); len(batch) == 0 { // ctx has ended
			return nil
		}
		err := t.send(working, batch)
		says.outcome(err, t.exporter.Endpoint(), t.full.Load()+t.lost.Load())
	}
}

// gather waits for a batch. When ctx has ended it takes what is there.
func (t *Tracer) gather(ctx context.Context, batch []Span) []Span {
	select {
	case s := <-t.queue:
		batch = append(batch, s)
	case <-ctx.Done():
		return t.queued(batch)
	}
	over := time.NewTimer(batchWithin)
	defer over.Stop()
	for len(batch) < batchSpans {
		select {
		case s := <-t.queue:
			batch = append(batch, s)
		case <-over.C:
			return batch
		case <-ctx.Done():
			return t.queued(batch)
		}
	}
	return batch
}

// queued takes what is there, without waiting.
func (t *Tracer) queued(batch []Span) []Span {
	for len(batch) < batchSpans {
		select {
		case s := <-t.queue:
			batch = append(batch, s)
		default:
			return batch
		}
	}
	return batch
}

// send counts what became of a batch. A request that may do better later is tried again.
func (t *Tracer) send(ctx context.Context, batch []Span) error {
	pause := 250 * time.Millisecond
	for try := 1; ; try++ {
		refused, again, err := t.exporter.export(ctx, batch)
		if err == nil {
			t.exported.Add(int64(len(batch)) - refused)
			t.lost.Add(refused)
			return nil
		}
		if !again || try == tries || ctx.Err() != nil {
			t.lost.Add(int64(len(batch)))
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		pause *= 4
	}
}

// voice tells of a collector that takes nothing, and when that is over.
type voice struct {
	log    *slog.Logger
	silent bool
	said   time.Time
}

func (v *voice) outcome(err error, endpoint string, dropped int64) {
	switch {
	case err == nil && v.silent:
		v.silent = false
		v.log.Info("the collector takes traces again", "endpoint", endpoint, "dropped", dropped)
	case err != nil:
		v.silent = true
		if time.Since(v.said) >= sayEvery {
			v.said = time.Now()
			v.log.Warn("the collector takes no traces: they are dropped, events are delivered all the same",
				"endpoint", endpoint, "dropped", dropped, "error", err)
		}
	}
}
