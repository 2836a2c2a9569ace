package workload

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/bench/rig"
)

// arrivals is a consumer that notes when each event came for the first time.
type arrivals struct {
	clock  clock
	times  []atomic.Int64 // by number; 0: not yet
	came   atomic.Int64   // how many did
	failed atomic.Pointer[error]
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

// consume begins to read a topic, as a consumer of committed records.
func consume(ctx context.Context, site *rig.Site, clock clock, room int) (*arrivals, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(site.Kafka.Brokers()...), kgo.ConsumeTopics(site.Topic),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &arrivals{clock: clock, times: make([]atomic.Int64, room), cancel: cancel}
	a.wait.Go(func() {
		defer client.Close()
		for {
			fetches := client.PollFetches(ctx)
			if ctx.Err() != nil {
				return
			}
			if err := fetches.Err(); err != nil {
				a.failed.Store(&err)
				return
			}
			now := a.clock.now()
			fetches.EachRecord(func(r *kgo.Record) {
				if n := number(r.Value); n > 0 && n < len(a.times) && a.times[n].CompareAndSwap(0, now) {
					a.came.Add(1)
				}
			})
		}
	})
	return a, nil
}

func (a *arrivals) close() {
	a.cancel()
	a.wait.Wait()
}

// all waits until so many events have come. That they do not is for the reading back to say.
func (a *arrivals) all(ctx context.Context, n int) error {
	for end := time.Now().Add(arriveLimit); a.came.Load() < int64(n) && time.Now().Before(end); {
		if err := a.failed.Load(); err != nil {
			return fmt.Errorf("consume: %w", *err)
		}
		if err := rig.Sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
