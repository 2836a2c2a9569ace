package relay

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// repeatAfter is the least time between two lines about one outage.
const repeatAfter = time.Minute

// outage logs when something is away and when it is back, not each try in between. Safe for concurrent use.
type outage struct {
	log  *slog.Logger
	what string
	up   *atomic.Bool // what the state shows

	mu    sync.Mutex
	since time.Time // zero: it is there
	told  time.Time
	last  string
}

func newOutage(log *slog.Logger, what string, up *atomic.Bool) *outage {
	return &outage{log: log, what: what, up: up}
}

// is notes that it is away. Another reason than before is another line, but not at once: a server that restarts
// refuses in many words.
func (o *outage) is(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.up.Store(false)
	if o.since.IsZero() {
		o.since = time.Now()
	} else if o.last == err.Error() || time.Since(o.told) < repeatAfter {
		return
	}
	o.last, o.told = err.Error(), time.Now()
	o.log.Warn(o.what+" is not available, waiting", "error", err)
}

// over notes that it is there.
func (o *outage) over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.up.Store(true)
	if !o.since.IsZero() {
		o.log.Info(o.what+" is available again", "away", time.Since(o.since).Round(time.Millisecond))
		o.since = time.Time{}
		o.last = ""
	}
}
