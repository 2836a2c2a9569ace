package franz

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/mutant"
)

// errShut is what a write gets. It unwraps to one that franz-go tries again after: what it holds back is failed when
// the producer is closed.
var errShut = fmt.Errorf("the producer may not write any more: %w", net.ErrClosed)

// gate says whether connections may still write.
type gate struct {
	base  time.Time
	until atomic.Int64 // nanoseconds after base
	shut  atomic.Bool
}

func newGate() *gate {
	g := &gate{base: time.Now()}
	g.until.Store(math.MaxInt64)
	return g
}

// trust opens the gate until then, by the monotonic clock.
func (g *gate) trust(until time.Time) { g.until.Store(int64(until.Sub(g.base))) }

func (g *gate) open() bool {
	if g.shut.Load() && !mutant.On("gate-open-after-failure") {
		return false
	}
	return int64(time.Since(g.base)) < g.until.Load() || mutant.On("gate-open-after-trust")
}

// stride is how much is written between two looks at the gate. A process that is frozen in the middle of a request
// leaves the broker at most so much of it, and never its end.
const stride = 64 << 10

// guarded is a connection behind a gate. franz-go gives a request a fixed time to be written in, however large it is, and
// then writes it again from the start: over a slow line it would never arrive. So each stride gets that time.
type guarded struct {
	net.Conn
	gate *gate

	mu       sync.Mutex
	patience time.Duration // of franz-go's last deadline; 0: none, or it is over
	fresh    bool          // nothing was written since it was set
}

// SetWriteDeadline is franz-go's. One that is not in the future breaks a write off.
func (c *guarded) SetWriteDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.patience, c.fresh = 0, true
	if !at.IsZero() {
		c.patience = max(0, time.Until(at))
	}
	return c.Conn.SetWriteDeadline(at)
}

// renew gives the next stride its time.
func (c *guarded) renew() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fresh || c.patience == 0 {
		c.fresh = false
		return nil
	}
	return c.Conn.SetWriteDeadline(time.Now().Add(c.patience))
}

// Write refuses when the gate is shut. A request that was written in part is none: the broker waits for the rest.
func (c *guarded) Write(b []byte) (n int, err error) {
	for {
		if !c.gate.open() {
			return n, errShut
		}
		if err := c.renew(); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(b[n:min(n+stride, len(b))])
		n += m
		if err != nil || n >= len(b) {
			return n, err
		}
	}
}

// dial connects behind the gate.
func (g *gate) dial(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	if !g.open() {
		return nil, errShut
	}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &guarded{Conn: conn, gate: g}, nil
}

// isShut says whether an error is the gate's.
func isShut(err error) bool { return errors.Is(err, errShut) }
