package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

const (
	firstPort = 20000
	ports     = 12000
)

// FreePort returns a port of 127.0.0.1 that nobody listens on now and that no other program gets from FreePort while
// this one lives. So a server finds its port again however long it was down, and its clients never meet a stranger
// there. It lies below the range that the system takes for outgoing connections (32768 up on Linux, 49152 up on macOS).
// A program that does not ask FreePort may still take it.
func FreePort() (int, error) {
	var last error
	for range 200 {
		port := firstPort + rand.IntN(ports)
		if last = reserve(port); last != nil {
			continue
		}
		listener, err := net.Listen("tcp4", address(port))
		if err != nil {
			last = err
			continue
		}
		return port, listener.Close()
	}
	return 0, errors.Join(fmt.Errorf("find a free port of 127.0.0.1 between %d and %d", firstPort, firstPort+ports), last)
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// reserved are UDP sockets, which nobody writes to. UDP has ports of its own, so a server can listen while we keep the
// number; and the system gives it back when the program is gone, however it ended, and leaves no file.
var reserved struct {
	sync.Mutex
	sockets []net.PacketConn
}

func reserve(port int) error {
	socket, err := net.ListenPacket("udp4", address(port))
	if err != nil {
		return err
	}
	reserved.Lock()
	defer reserved.Unlock()
	reserved.sockets = append(reserved.sockets, socket)
	return nil
}
