package store

import (
	"net"
	"syscall"
	"testing"
)

func TestConnect_TheKernelGivesUpAPeerThatVanished(t *testing.T) {
	c := connect(t, database(t))
	raw, err := c.PgConn().Conn().(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got int
	if controlErr := raw.Control(func(fd uintptr) {
		got, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
	}); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
	if got != int(unansweredFor.Milliseconds()) {
		t.Errorf("TCP_USER_TIMEOUT is %d ms, want %v", got, unansweredFor)
	}
}
