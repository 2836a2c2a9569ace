package lanes

import (
	"sync"
	"time"

	"github.com/outboxrelay/relay/internal/mutant"
)

// stepsPerTimeout is how finely the age of records is known: to a fiftieth of the message timeout.
const stepsPerTimeout = 50

// ages knows how long the oldest unacked record of a lane has been under way, without a time for each record: a mark
// says how many records had been sent at a moment. Send writes marks, the watcher of deadlines takes them.
type ages struct {
	mu    sync.Mutex
	marks []mark // oldest first

	last time.Duration // when the newest was made; owned by Send
}

type mark struct {
	sent int64 // records before this moment
	at   time.Duration
}

// note makes a mark before record number sent goes, unless there is one that is younger than a step.
func (a *ages) note(sent int64, now, step time.Duration) {
	if sent > 0 && now-a.last < step {
		return
	}
	a.last = now
	a.mu.Lock()
	a.marks = append(a.marks, mark{sent, now})
	a.mu.Unlock()
}

// oldest is when record number done went, the oldest without a report; at most a step too early.
func (a *ages) oldest(done int64) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.marks) > 1 && a.marks[1].sent <= done {
		a.marks = a.marks[1:]
	}
	return a.marks[0].at
}

// WatchDeadlines calls tooOld when a record has been under way for nearly the timeout, before the client itself would
// give it up. It returns when the producer is dead.
//
// Clients give up single records, in the order of their age, and go on with the younger ones:
//
//	record 1 times out → brokers come back → record 2, a second younger, is stored → we hear of record 1
//
// and the resend of record 1 lies behind record 2. To hear sooner is no cure; all have to be dropped at once, before
// the first one is. The client's own timeout, where it has one, stays: it is what holds while this whole process is
// frozen.
func (p *Lanes) WatchDeadlines(tooOld func()) {
	timeout := p.Timeout
	step := timeout / stepsPerTimeout
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		select {
		case <-p.Dead:
			return
		case <-look.C:
		}
		// An age is known up to a step too old, and looked at up to a step too late: between 94 and 98 percent.
		oldest := p.oldestAge()
		if oldest > timeout-2*step && !mutant.On("no-common-deadline") {
			tooOld()
		}
		// No record can be too old sooner, not even one that is sent now. A relay at rest should rest.
		look.Reset(max(step, timeout-2*step-oldest))
	}
}

// oldestAge is the age of the oldest record without a report, 0 where there is none.
func (p *Lanes) oldestAge() time.Duration {
	now := time.Since(p.started)
	var oldest time.Duration
	for _, l := range *p.all.Load() {
		if done := l.done.Load(); done < l.sent.Load() {
			oldest = max(oldest, now-l.ages.oldest(done))
		}
	}
	return oldest
}
