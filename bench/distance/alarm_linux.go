package distance

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// alarm waits for a moment to some hundredths of a millisecond. Go's own timers do not: an idle program sleeps in whole
// milliseconds, and half of a short round trip is one.
type alarm struct {
	file *os.File
	raw  syscall.RawConn
}

func newAlarm() (*alarm, error) {
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
	return &alarm{file, raw}, nil
}

// wait returns at the time, or at once when it is over. For one goroutine. After Close it is os.ErrClosed.
func (a *alarm) wait(until time.Time) error {
	left := time.Until(until)
	if left <= 0 {
		return nil
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}
	var set error
	if err := a.raw.Control(func(fd uintptr) { set = unix.TimerfdSettime(int(fd), 0, &spec, nil) }); err != nil {
		return fmt.Errorf("set a timer: %w", err)
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
func (a *alarm) Close() error { return a.file.Close() }
