package relay

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// outage logs when something is away and when it is back, not each try in between.
type outage struct {
	log   *slog.Logger
	what  string
	since time.Time // zero: it is there
	last  string
	up    *atomic.Bool // what the state shows
}

func newOutage(log *slog.Logger, what string, up *atomic.Bool) *outage {
	return &outage{log: log, what: what, up: up}
}

// is notes that it is away. Another reason than before is another line.
func (o *outage) is(err error) {
	o.up.Store(false)
	if text := err.Error(); o.since.IsZero() || o.last != text {
		o.log.Warn(o.what+" is not available, waiting", "error", err)
		o.last = text
	}
	if o.since.IsZero() {
		o.since = time.Now()
	}
}

// over notes that it is there.
func (o *outage) over() {
	o.up.Store(true)
	if !o.since.IsZero() {
		o.log.Info(o.what+" is available again", "away", time.Since(o.since).Round(time.Millisecond))
		o.since = time.Time{}
		o.last = ""
	}
}
