package alarm

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Alarm waits, for one goroutine.
type Alarm struct {
	file *os.File
	raw  syscall.RawConn
}

// New makes one, to be closed.
func New() (*Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	file := os.NewFile(uintptr(fd), "timer")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	return &Alarm{file, raw}, nil
}

// Wait returns at the time, or at once when it is over. After Close it is os.ErrClosed.
func (a *Alarm) Wait(until time.Time) error {
	left := time.Until(until)
	if left <= 0 {
		return nil
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}
	var set error
	if err := a.raw.Control(func(fd uintptr) { set = unix.TimerfdSettime(int(fd), 0, &spec, nil) }); err != nil {
		return fmt.Errorf("set a timer: %w", errors.Join(os.ErrClosed, err)) // the one thing that it fails for
	}
	if set != nil {
		return fmt.Errorf("set a timer: %w", set)
	}
	var count [8]byte
	if _, err := a.file.Read(count[:]); err != nil {
		return fmt.Errorf("wait for a timer: %w", err)
	}
	return nil
}

// Close ends a wait, too.
func (a *Alarm) Close() error { return a.file.Close() }
