package distance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/alarm"
)

const (
	chunkSize = 64 << 10
	// queueRoom is the chunks that are under way in one direction of a connection. Nobody waits for room as long as a
	// half of the round trip carries less than all of them.
	queueRoom = 1024
)

// Proxy stands before one server. Safe from many goroutines.
type Proxy struct {
	target   string
	listener net.Listener
	oneWay   atomic.Int64 // nanoseconds
	running  sync.WaitGroup
	chunks   sync.Pool

	mu     sync.Mutex
	open   map[io.Closer]struct{} // connections and alarms; nil: the proxy is closed
	passed int64                  // bytes, since Passed was asked
	late   []time.Duration        // by chunk, the same
	failed error                  // the first thing that should not happen
}

// Start listens on a free port of 127.0.0.1 and carries what comes there to the target, a host:port that needs not
// answer yet. The caller closes it.
func Start(target string, trip time.Duration) (*Proxy, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("put a distance before %s: %w", target, err)
	}
	p := &Proxy{target: target, listener: listener, open: map[io.Closer]struct{}{}}
	p.chunks.New = func() any { return new([chunkSize]byte) }
	p.SetTrip(trip)
	p.running.Go(p.accept)
	return p, nil
}

// Address is where clients connect, a host:port.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// SetTrip is the round trip of what is read from now on.
func (p *Proxy) SetTrip(trip time.Duration) { p.oneWay.Store(int64(trip / 2)) }

// Passage is what went on through a proxy in some time.
type Passage struct {
	Bytes int64         // in both directions
	Late  time.Duration // how long after they were due they went on: 99 of 100 chunks were not later
}

// Passed is what went on since the last call. The error says that the proxy could not do its work.
func (p *Proxy) Passed() (Passage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	passage, late := Passage{Bytes: p.passed}, p.late
	p.passed, p.late = 0, nil
	if len(late) > 0 {
		slices.Sort(late)
		passage.Late = late[len(late)*99/100]
	}
	return passage, p.failed
}

// Close ends every connection and frees the port. What is on its way is lost. Safe twice.
func (p *Proxy) Close() {
	_ = p.listener.Close() // the second time it is closed already
	p.mu.Lock()
	for c := range p.open {
		c.Close()
	}
	p.open = nil
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.running.Go(func() { p.join(client) })
	}
}

// join carries one connection until both of its directions have ended.
func (p *Proxy) join(client net.Conn) {
	defer p.forget(client)
	if !p.keep(client) {
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return // the client sees the connection end, as it does where a server is gone
	}
	defer p.forget(server)
	if !p.keep(server) {
		return
	}
	var ways sync.WaitGroup
	ways.Go(func() { p.carry(client, server) })
	ways.Go(func() { p.carry(server, client) })
	ways.Wait()
}

// chunk is bytes on their way.
type chunk struct {
	bytes  *[chunkSize]byte
	length int
	due    time.Time
}

// carry is one direction of a connection. It ends when nothing more comes, and tells the other side so.
func (p *Proxy) carry(from, to net.Conn) {
	queue := make(chan chunk, queueRoom)
	p.running.Go(func() {
		defer close(queue)
		for {
			bytes, _ := p.chunks.Get().(*[chunkSize]byte)
			n, err := from.Read(bytes[:])
			if n > 0 {
				queue <- chunk{bytes, n, time.Now().Add(time.Duration(p.oneWay.Load()))}
			}
			if err != nil {
				return
			}
		}
	})
	if err := p.deliver(queue, to); err != nil {
		// Whoever sends is told, and the reader, which may wait for room, is let go.
		from.Close()
		to.Close()
		for range queue {
		}
	}
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite() // it may be closed already
	}
}

// deliver writes each chunk when it is due.
func (p *Proxy) deliver(queue <-chan chunk, to net.Conn) error {
	ring, err := alarm.New()
	if err != nil {
		p.fail(err)
		return err
	}
	defer p.forget(ring)
	if !p.keep(ring) {
		return net.ErrClosed
	}
	for c := range queue {
		if err := ring.Wait(c.due); err != nil {
			if !errors.Is(err, os.ErrClosed) {
				p.fail(err)
			}
			return err
		}
		p.count(c.length, time.Since(c.due))
		if _, err := to.Write(c.bytes[:c.length]); err != nil {
			return err
		}
		p.chunks.Put(c.bytes)
	}
	return nil
}

func (p *Proxy) count(bytes int, late time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passed += int64(bytes)
	p.late = append(p.late, late)
}

func (p *Proxy) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = fmt.Errorf("the distance before %s: %w", p.target, err)
	}
}

// keep has Close end something; false: it is too late for that.
func (p *Proxy) keep(c io.Closer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		return false
	}
	p.open[c] = struct{}{}
	return true
}

func (p *Proxy) forget(c io.Closer) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}
