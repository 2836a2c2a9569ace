package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// A page has no limit of time: the scan for its first row may step over all that a long transaction has kept from being
// settled, and the rows of one may wait for Kafka. But a proxy may keep a connection whose other half is gone, and then
// nothing ever comes. So where nothing comes for a while, another connection asks whether the server is at work.

// errSilent ends such a page.
var errSilent = errors.New("nothing comes over this connection, and the server is not at work on the page: is there a proxy that keeps dead connections?")

// workingSQL is for one's own backend. One that waits for its client has nothing more to say, or says it to nobody.
const workingSQL = `select exists (select from pg_stat_activity
	where pid = $1 and coalesce(wait_event, '') not in ('ClientRead', 'ClientWrite'))`

// pulse says whether somebody waits for bytes of a connection, and whether some have come since an earlier look.
type pulse struct {
	from io.Reader
	// beats is odd while a call waits. The reading goroutine adds, the vigil looks.
	beats atomic.Uint64
}

func (p *pulse) Read(b []byte) (int, error) {
	p.beats.Add(1)
	n, err := p.from.Read(b)
	p.beats.Add(1)
	return n, err
}

// pulseKey is where Connect leaves a connection's pulse.
const pulseKey = "relay pulse"

// vigil watches over one connection.
type vigil struct {
	pulse   *pulse
	backend int32
	ask     ConnString
	silence time.Duration
}

// newVigil is nil for a connection that is not Connect's.
func newVigil(ctx context.Context, c *pgx.Conn, ask ConnString) (*vigil, error) {
	p, ok := c.PgConn().CustomData()[pulseKey].(*pulse)
	if !ok {
		return nil, nil
	}
	v := &vigil{pulse: p, ask: ask, silence: answerTimeout}
	// Not what the connection says of itself: a pooler makes that up.
	if err := c.QueryRow(ctx, "select pg_backend_pid()").Scan(&v.backend); err != nil {
		return nil, fmt.Errorf("ask for the server's process number: %w", err)
	}
	return v, nil
}

// over gives what is read a context that ends, with errSilent as its cause, when nothing will come any more. done has to
// be called when it is read.
func (v *vigil) over(ctx context.Context) (watched context.Context, done func()) {
	if v == nil {
		return ctx, func() {}
	}
	watched, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(v.silence, func() { v.keep(watched, cancel) })
	return watched, func() {
		late.Stop()
		cancel(nil)
	}
}

// keep looks until what is read is read. It wants to be told twice, with nothing come in between: an answer may be on
// its way while the server already waits for the next question.
func (v *vigil) keep(ctx context.Context, cancel context.CancelCauseFunc) {
	for lost := 0; lost < 2; {
		before := v.pulse.beats.Load()
		select {
		case <-ctx.Done():
			return
		case <-time.After(v.silence):
		}
		silent := before%2 == 1 && v.pulse.beats.Load() == before
		if silent && v.lost(ctx) {
			lost++
		} else {
			lost = 0
		}
	}
	cancel(errSilent)
}

// lost says that the server is not at work for this connection. A server that does not answer either says nothing: then
// the lease cannot be renewed, and that ends the session.
func (v *vigil) lost(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	c, err := Connect(ctx, v.ask, "relay vigil")
	if err != nil {
		return false
	}
	defer closeSoon(c)
	var working bool
	err = c.QueryRow(ctx, workingSQL, v.backend).Scan(&working)
	return err == nil && !working
}
