package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// FreePort returns a port of 127.0.0.1 that nobody listens on now. It lies below the range that the system takes
// for outgoing connections (32768 up on Linux, 49152 up on macOS): a server that is down for a moment finds its
// port again. Somebody may take it before its user does; then ask again.
func FreePort() (int, error) {
	var last error
	for range 200 {
		port := 20000 + rand.IntN(12000)
		listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			last = err
			continue
		}
		return port, listener.Close()
	}
	return 0, errors.Join(errors.New("find a free port of 127.0.0.1 between 20000 and 32000"), last)
}
