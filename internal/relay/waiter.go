package relay

import (
	"context"
	"time"

	"github.com/outboxrelay/relay/internal/alarm"
	"github.com/outboxrelay/relay/internal/store"
)

const (
	// alert is how long polling stays quick after activity.
	alert = 50 * time.Millisecond
	// asleepFor bounds a sleep under the doorbell: the safety poll.
	asleepFor = 2 * time.Second
	// exact is up to which length a wait is of Linux's own kind; Go's timers would make one millisecond of half a one.
	// Such a wait does not end for a stop.
	exact = 5 * time.Millisecond
	// restful is how long nothing has to have come before the process is told that it rests.
	restful = 2 * time.Second
)

// waiter decides how long feed waits before it looks again: briefly after activity, then longer and longer, and, where
// there is a doorbell, until it rings. Feed's own.
type waiter struct {
	least, most time.Duration
	alarm       *alarm.Alarm
	bell        *store.Doorbell // nil: poll
	set         bool            // the bell hangs: the next insert rings
	caughtUp    func()          // told before each wait
	rest        func(bool)      // told when a rest begins and ends
	rests       bool
	active      time.Time
	next        time.Duration
}

// wait returns when it is time to look again, or when ctx or stop ends. Called after each look that found all there is,
// with the time when it began: looks begin so far apart, and one that took longer leaves PostgreSQL a little peace.
func (w *waiter) wait(ctx, stop context.Context, asked time.Time) error {
	w.caughtUp()
	if !w.rests && w.resting() && time.Since(w.active) > restful {
		w.rests = true
		w.rest(true)
	}
	if w.set {
		return w.sleep(ctx, stop)
	}
	if time.Since(w.active) > alert {
		w.next = min(max(w.next*2, w.least), w.most)
	}
	if w.bell != nil && w.next == w.most {
		set, err := w.bell.Set(ctx)
		if err != nil {
			return err
		}
		if w.set = set; set {
			return nil // one more look before the sleep
		}
	}
	next := max(w.next, w.least)
	left := max(next-time.Since(asked), w.least/4)
	if left <= exact {
		return w.alarm.Wait(time.Now().Add(left))
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop.Done():
	case <-ctx.Done():
	}
	return nil
}

// resting says that nothing has come for so long that nothing is expected.
func (w *waiter) resting() bool { return w.next == w.most }

// sleep waits for the bell. It stays set over a safety poll that finds nothing.
func (w *waiter) sleep(ctx, stop context.Context) error {
	waitCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(stop, cancel)()
	rang, err := w.bell.Wait(waitCtx, asleepFor)
	if err != nil || !rang {
		return err
	}
	return w.wake(ctx)
}

// wake says that rows were found, or will be: look often, and take the bell down, for inserts need not ring while feed
// is looking anyway.
func (w *waiter) wake(ctx context.Context) error {
	w.rouse()
	w.active = time.Now()
	w.next = w.least
	if !w.set {
		return nil
	}
	w.set = false
	return w.bell.Unset(ctx)
}

// rouse ends a rest.
func (w *waiter) rouse() {
	if w.rests {
		w.rests = false
		w.rest(false)
	}
}

func (w *waiter) mode() string {
	if w.bell == nil {
		return "poll"
	}
	return "listen"
}
