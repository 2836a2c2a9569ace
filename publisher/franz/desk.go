package franz

import (
	"sync"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/lanes"
)

// desk passes what became of records on from franz-go's promises to Reports, on a goroutine of its own: whoever takes a report may be
// slow, and franz-go must not be.
type desk struct {
	reports publisher.Reports
	lanes   *lanes.Lanes
	shelf   *shelf // gets the slots afterwards

	mu      sync.Mutex
	arrived sync.Cond
	queue   []*slot
	closing bool // nothing comes any more when nothing is in flight
	gone    bool
	done    chan struct{}
}

func newDesk(reports publisher.Reports, l *lanes.Lanes, s *shelf) *desk {
	d := &desk{reports: reports, lanes: l, shelf: s, done: make(chan struct{})}
	d.arrived.L = &d.mu
	return d
}

// put takes a slot whose record is decided.
func (d *desk) put(s *slot) {
	d.mu.Lock()
	d.queue = append(d.queue, s)
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
	var batch []*slot
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
		for _, s := range batch {
			d.report(s)
			s.empty()
			d.shelf.put(s)
		}
		d.shelf.flush()
		clear(batch)
	}
}

// report tells of one record. It is out of flight before its user hears of it, who may commit at once upon the last ack.
func (d *desk) report(s *slot) {
	d.lanes.Reported(s.lane, s.err == nil)
	d.lanes.Left(s.lane)
	if s.err == nil {
		d.reports.Acked(s.tag, s.lane.Partition(), s.record.Offset)
	} else {
		d.reports.Failed(s.tag, s.err)
	}
}
