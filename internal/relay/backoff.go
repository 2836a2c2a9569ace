package relay

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff doubles from least to most, with a fifth of jitter so that replicas do not march in step.
type backoff struct {
	least, most time.Duration
	next        time.Duration
}

func newBackoff(least, most time.Duration) *backoff { return &backoff{least: least, most: most} }

func (b *backoff) reset() { b.next = 0 }

// pause waits for the next, longer time, or until ctx ends.
func (b *backoff) pause(ctx context.Context) {
	b.next = min(max(b.next*2, b.least), b.most)
	sleep(ctx, b.next-time.Duration(rand.Int64N(int64(b.next)/5+1)))
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
