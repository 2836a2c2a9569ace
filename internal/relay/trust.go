package relay

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

// Lease arithmetic, as shares of the lease's ttl. A record may be handed to the Kafka client only while the trust
// that is left exceeds the client's message timeout: whatever a frozen process still holds has expired when a
// successor may start. With renewals every tenth, a fifth of the ttl stays as room for a slow one.
func renewEvery(ttl time.Duration) time.Duration { return ttl / 10 }
func margin(ttl time.Duration) time.Duration     { return ttl / 20 }

// MessageTimeout is how long a record may stay in a Kafka client that is not gated, for a lease of this ttl.
func MessageTimeout(ttl time.Duration) time.Duration { return ttl * 3 / 4 }

// trust is how long the lease may be believed in without asking, by the monotonic clock. The renewer writes it, feed
// reads it.
type trust struct {
	base  time.Time
	until atomic.Int64 // nanoseconds after base

	mu    sync.Mutex
	gated map[gated]struct{} // those that are told of each renewal
}

// gated is a producer that writes nothing once the trust is over, not even what it was given long before. It needs no
// message timeout below the lease.
type gated interface {
	// Trust says until when it may write, by the monotonic clock.
	Trust(until time.Time)
}

func newTrust() *trust { return &trust{base: time.Now(), gated: map[gated]struct{}{}} }

// renewed counts from the moment the renewal was asked for, not from its answer.
func (t *trust) renewed(asked time.Time, ttl time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until.Store(int64(asked.Sub(t.base) + ttl - margin(ttl)))
	for g := range t.gated {
		g.Trust(t.end())
	}
}

func (t *trust) end() time.Time { return t.base.Add(time.Duration(t.until.Load())) }

// gate binds a producer's writing to the trust, until release. hold is how much trust must be left when a record is
// handed to it: none where the producer itself stops with the trust, its message timeout where nothing else does.
func (t *trust) gate(p publisher.Producer, ttl time.Duration) (hold time.Duration, release func()) {
	g, ok := p.(gated)
	if !ok {
		return MessageTimeout(ttl), func() {}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gated[g] = struct{}{}
	g.Trust(t.end())
	return 0, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.gated, g)
	}
}

// left is how long the trust still lasts; negative when it is over.
func (t *trust) left() time.Duration {
	return time.Duration(t.until.Load()) - time.Since(t.base)
}

// errTrustOver ends a session whose lease could not be renewed in time.
var errTrustOver = errors.New("the lease could not be renewed in time")

// await waits until a record may be handed over that can be written for another hold: by then the lease must still be
// ours.
func (t *trust) await(ctx context.Context, hold time.Duration) error {
	for t.left() <= hold {
		if t.left() <= 0 {
			return errTrustOver
		}
		sleep(ctx, 10*time.Millisecond)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}
