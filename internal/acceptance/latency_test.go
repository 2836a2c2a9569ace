//go:build linux

package acceptance

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/outbox"
)

func TestLatency_FromCommitToConsumer(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	d := s.relay(binary)
	d.saysSoon("session began", 20*time.Second)
	warm(s, d, 100_000)
	w := s.watch(s.topic)
	for _, perSecond := range []int{100, 1000} {
		took := w.under(perSecond, 15*time.Second)
		p50, p99 := took[len(took)/2], took[len(took)*99/100]
		t.Logf("%d/s: %d events, commit to consumer p50 %.1f ms, p99 %.1f ms, most %.1f ms", perSecond, len(took),
			milliseconds(p50), milliseconds(p99), milliseconds(took[len(took)-1]))
		if p50 > 100*time.Millisecond { // three times what a busy machine shows: this is no benchmark
			t.Errorf("%d/s: half of the events took more than %v", perSecond, p50)
		}
	}
	d.stop(10 * time.Second)
}

// warm has the broker compile what it runs: a cold one adds tens of milliseconds.
func warm(s *site, d *daemon, rows int) {
	s.t.Helper()
	_, err := s.connect().Exec(context.Background(), `insert into outbox.events (topic, key, payload)
		select $1, 'key-' || i, to_json(i) from generate_series(1, $2::int) i`, s.newTopic(4), rows)
	if err != nil {
		s.t.Fatal(err)
	}
	s.settled(d, int64(rows), time.Minute)
}

// watch is a consumer that notes when each event came, by its id.
type watch struct {
	site    *site
	mu      sync.Mutex
	arrived map[string]time.Time
}

// watch consumes what comes to the topic from now on, until the end of the test.
func (s *site) watch(topic string) *watch {
	s.t.Helper()
	client := must(kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(topic), kgo.DisableFetchSessions(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))(s.t)
	w := &watch{site: s, arrived: map[string]time.Time{}}
	ctx, end := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			fetches := client.PollFetches(ctx)
			now := time.Now()
			if ctx.Err() != nil {
				return
			}
			w.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) {
				for _, h := range r.Headers {
					if h.Key == "id" {
						w.arrived[string(h.Value)] = now
					}
				}
			})
			w.mu.Unlock()
		}
	})
	s.t.Cleanup(func() { end(); wait.Wait(); client.Close() })
	return w
}

// when says when an event came; zero: not yet.
func (w *watch) when(id string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.arrived[id]
}

// after waits for an event, and gives how long after its commit it came.
func (w *watch) after(id string, committed time.Time) time.Duration {
	w.site.t.Helper()
	eventually(w.site.t, "an event arrives", 10*time.Second, func() bool { return !w.when(id).IsZero() })
	return max(0, w.when(id).Sub(committed))
}

// under writes events by 16 connections at fixed times, whatever the answers take, and gives how long each took from
// the return of its commit to the consumer, the shortest first.
func (w *watch) under(perSecond int, length time.Duration) (took []time.Duration) {
	w.site.t.Helper()
	const connections = 16
	total := perSecond * int(length/time.Second)
	ids, committed := make([]string, total), make([]time.Time, total)
	began := time.Now().Add(100 * time.Millisecond)
	var wait sync.WaitGroup
	for c := range connections {
		db := w.site.connect()
		wait.Go(func() {
			for i := c; i < total; i += connections {
				time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
				ids[i] = outbox.NewID()
				if err := w.site.write(db, ids[i]); err != nil {
					w.site.t.Errorf("write an event: %v", err)
					return
				}
				committed[i] = time.Now()
			}
		})
	}
	wait.Wait()
	if w.site.t.Failed() {
		w.site.t.FailNow()
	}
	for i := range ids {
		took = append(took, w.after(ids[i], committed[i]))
	}
	slices.Sort(took)
	return took
}

// write commits one event.
func (s *site) write(db *pgx.Conn, id string) error {
	tx, err := db.Begin(context.Background())
	if err != nil {
		return err
	}
	defer tx.Rollback(context.Background())
	err = outbox.Insert(context.Background(), tx, outbox.Event{ID: id, Topic: s.topic, Key: id, Type: "OrderPlaced",
		Payload: outbox.JSON(map[string]any{"order": id, "total": "9.90"})})
	if err != nil {
		return err
	}
	return tx.Commit(context.Background())
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
