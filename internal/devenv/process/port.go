package process

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

const (
	firstPort = 20000
	ports     = 12000
)

// FreePort returns a port of 127.0.0.1 that nobody listens on now and that no other program of this user gets from
// FreePort while this one lives. So a server finds its port again however long it was down, and its clients never
// meet a stranger there. It lies below the range that the system takes for outgoing connections (32768 up on Linux,
// 49152 up on macOS). A program that does not ask FreePort may still take it.
func FreePort() (int, error) {
	var last error
	for range 200 {
		port := firstPort + rand.IntN(ports)
		if err := kept.keep(port); err != nil {
			last = err
			continue
		}
		listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			last = err
			continue
		}
		return port, listener.Close()
	}
	return 0, errors.Join(fmt.Errorf("find a free port of 127.0.0.1 between %d and %d", firstPort, firstPort+ports), last)
}

// kept are the ports of this program.
var kept = portLocks{mine: map[int]bool{}}

// portLocks locks a byte of one file for each port. The system gives the locks back when the program is gone. They
// say nothing between goroutines of one program, hence the map; and they would all go with the first Close of the
// file by this program, so it is opened once and stays open.
type portLocks struct {
	mu   sync.Mutex
	file *os.File
	mine map[int]bool
}

func (l *portLocks) keep(port int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mine[port] {
		return fmt.Errorf("port %d is this program's already", port)
	}
	if l.file == nil {
		path := filepath.Join(os.TempDir(), "outbox-relay-ports-"+strconv.Itoa(os.Getuid()))
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return fmt.Errorf("open the list of ports in use: %w", err)
		}
		l.file = file
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: int64(port), Len: 1}
	if err := syscall.FcntlFlock(l.file.Fd(), syscall.F_SETLK, &lock); err != nil {
		return fmt.Errorf("port %d is another program's: %w", port, err)
	}
	l.mine[port] = true
	return nil
}
