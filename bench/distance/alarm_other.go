//go:build !linux

package distance

import (
	"os"
	"sync"
	"time"
)

// alarm is Go's own timer, which may be a millisecond late: what is measured is measured on Linux.
type alarm struct {
	once   sync.Once
	closed chan struct{}
}

func newAlarm() (*alarm, error) { return &alarm{closed: make(chan struct{})}, nil }

func (a *alarm) wait(until time.Time) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-a.closed:
		return os.ErrClosed
	}
}

// Close ends a wait, too.
func (a *alarm) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}
