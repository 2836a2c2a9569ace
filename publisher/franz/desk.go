package franz

import (
	"sync"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/lanes"
)

// outcome is what became of one record.
type outcome struct {
	tag    any
	lane   *lanes.Lane
	offset int64
	err    *publisher.Error // nil: acked
}

// desk passes outcomes on from franz-go's promises to Reports, on a goroutine of its own: whoever takes a report may be
// slow, and franz-go must not be.
type desk struct {
	reports publisher.Reports
	lanes   *lanes.Lanes

	mu      sync.Mutex
	arrived sync.Cond
	queue   []outcome
	closing bool // nothing comes any more when nothing is in flight
	gone    bool
	done    chan struct{}
}

func newDesk(reports publisher.Reports, l *lanes.Lanes) *desk {
	d := &desk{reports: reports, lanes: l, done: make(chan struct{})}
	d.arrived.L = &d.mu
	return d
}

func (d *desk) put(o outcome) {
	d.mu.Lock()
	d.queue = append(d.queue, o)
	first := len(d.queue) == 1
	d.mu.Unlock()
	if first {
		d.arrived.Signal()
	}
}

// close lets the desk end after the last report. The channel is closed then.
func (d *desk) close() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = true
	d.arrived.Signal()
	return d.done
}

// abandon ends the desk though reports are missing.
func (d *desk) abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = true
	d.arrived.Signal()
}

func (d *desk) work() {
	defer close(d.done)
	var batch []outcome
	for {
		d.mu.Lock()
		for len(d.queue) == 0 {
			if d.gone || d.closing && d.lanes.InFlight() == 0 {
				d.mu.Unlock()
				return
			}
			d.arrived.Wait()
		}
		batch, d.queue = d.queue, batch[:0]
		d.mu.Unlock()
		for i := range batch {
			d.report(&batch[i])
		}
		clear(batch)
	}
}

func (d *desk) report(o *outcome) {
	d.lanes.Reported(o.lane, o.err == nil)
	if o.err == nil {
		d.reports.Acked(o.tag, o.lane.Partition(), o.offset)
	} else {
		d.reports.Failed(o.tag, o.err)
	}
	d.lanes.Left(o.lane)
}
