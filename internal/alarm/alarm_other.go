//go:build !linux

package alarm

import (
	"os"
	"sync"
	"time"
)

// Alarm waits, for one goroutine.
type Alarm struct {
	once   sync.Once
	closed chan struct{}
}

// New makes one, to be closed.
func New() (*Alarm, error) { return &Alarm{closed: make(chan struct{})}, nil }

// Wait returns at the time, or at once when it is over. After Close it is os.ErrClosed.
func (a *Alarm) Wait(until time.Time) error {
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
func (a *Alarm) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}
