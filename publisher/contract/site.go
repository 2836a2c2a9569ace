package contract

import (
	"net"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Site is a cluster for the suite, without authentication.
type Site struct {
	Brokers []string
	// Away makes the brokers unreachable or silent, Back ends that. Nil skips the tests that need it.
	Away func()
	Back func()
}

// Fake is a Kafka-protocol broker in this process whose network can be cut.
type Fake struct {
	*kfake.Cluster
	wire *wire
}

// StartFake runs a broker for one test.
func StartFake(t testing.TB, opts ...kfake.Opt) *Fake {
	t.Helper()
	w := &wire{conns: map[net.Conn]struct{}{}}
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.ListenFn(w.listen)}, opts...)...)
	if err != nil {
		t.Fatalf("start a fake broker: %v", err)
	}
	t.Cleanup(cluster.Close)
	return &Fake{Cluster: cluster, wire: w}
}

// Site of the fake.
func (f *Fake) Site() Site {
	return Site{Brokers: f.ListenAddrs(), Away: f.wire.cut, Back: f.wire.mend}
}

// wire is a network that can be cut: all connections end, and new ones end at once.
type wire struct {
	mu     sync.Mutex
	broken bool
	conns  map[net.Conn]struct{}
}

func (w *wire) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	return wiredListener{l, w}, err
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = true
	for c := range w.conns {
		_ = c.Close()
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = false
}

type wiredListener struct {
	net.Listener
	wire *wire
}

func (l wiredListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.wire.mu.Lock()
		broken := l.wire.broken
		if !broken {
			l.wire.conns[c] = struct{}{}
		}
		l.wire.mu.Unlock()
		if !broken {
			return wiredConn{c, l.wire}, nil
		}
		_ = c.Close()
	}
}

type wiredConn struct {
	net.Conn
	wire *wire
}

func (c wiredConn) Close() error {
	c.wire.mu.Lock()
	delete(c.wire.conns, c.Conn)
	c.wire.mu.Unlock()
	return c.Conn.Close()
}
