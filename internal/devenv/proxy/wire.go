package proxy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/outboxrelay/relay/internal/devenv/process"
)

// Wire carries Kafka's requests and answers to one broker, and does to them what its rules say. Safe from many
// goroutines.
type Wire struct {
	target   string
	listener net.Listener
	closed   chan struct{}
	running  sync.WaitGroup

	mu      sync.Mutex
	catches []*Catch
	links   map[*link]bool
}

// StartWire listens on a free port of 127.0.0.1, and carries what comes there to the target, a host:port that needs
// not answer yet. The caller closes it.
func StartWire(target string) (*Wire, error) {
	const tries = 5 // somebody may take the port between the look for it and the start
	for try := 1; ; try++ {
		port, err := process.FreePort()
		if err != nil {
			return nil, fmt.Errorf("start a Kafka proxy: %w", err)
		}
		listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			w := &Wire{target: target, listener: listener, closed: make(chan struct{}), links: map[*link]bool{}}
			w.running.Go(w.accept)
			return w, nil
		}
		if try == tries {
			return nil, fmt.Errorf("start a Kafka proxy: %w", err)
		}
	}
}

// Address is where clients connect, a host:port.
func (w *Wire) Address() string { return w.listener.Addr().String() }

// Close ends every connection, lets go of every frame that is held without sending it, and frees the port. Safe twice.
func (w *Wire) Close() {
	w.mu.Lock()
	select {
	case <-w.closed:
	default:
		close(w.closed)
		_ = w.listener.Close() // nothing can be done about it
		for l := range w.links {
			l.end()
		}
	}
	w.mu.Unlock()
	w.running.Wait()
}

func (w *Wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return // closed
		}
		w.running.Go(func() { w.carry(client) })
	}
}

// carry brings one client's frames to the broker and its answers back.
func (w *Wire) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", w.target)
	if err != nil {
		return // the client sees a connection that ends, as it would with a broker that is down
	}
	defer server.Close()
	l := &link{wire: w, client: client, server: server, asked: map[int32]Frame{}}
	if !w.enter(l) {
		return
	}
	defer w.leave(l)
	var answers sync.WaitGroup
	answers.Go(func() {
		l.pump(Answer, l.server, l.client)
		l.client.Close()
	})
	l.pump(Request, l.client, l.server)
	// A broker answers what it has been asked even when the client asks no more.
	_ = server.(*net.TCPConn).CloseWrite()
	answers.Wait()
}

func (w *Wire) enter(l *link) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.closed:
		return false
	default:
		w.links[l] = true
		return true
	}
}

func (w *Wire) leave(l *link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.links, l)
}

// link is one client's connection.
type link struct {
	wire           *Wire
	client, server net.Conn

	mu    sync.Mutex
	asked map[int32]Frame // what was asked and not yet answered, by correlation id; without bodies
}

// end cuts the link in both directions.
func (l *link) end() {
	l.client.Close()
	l.server.Close()
}

// errEnd ends a pump.
var errEnd = errors.New("the link ends here")

// pump copies frames until one side is gone. A client that is gone does not stop the answers from being read: the
// broker must not notice a request's death before the request that is held has reached it.
func (l *link) pump(side Side, from, to net.Conn) {
	in, out := bufio.NewReaderSize(from, 64<<10), bufio.NewWriterSize(to, 64<<10)
	for {
		frame, err := l.read(side, in)
		if err != nil {
			return
		}
		err = l.pass(side, frame, in, out)
		if err == nil && in.Buffered() == 0 {
			err = out.Flush()
		}
		switch {
		case err == nil:
		case side == Answer && !errors.Is(err, errEnd):
			_, _ = io.Copy(io.Discard, in)
			return
		default:
			return
		}
	}
}

// head is what a request begins with after its size: API, version, correlation id. An answer begins with the
// correlation id alone. Layout: https://kafka.apache.org/protocol#protocol_messages
const head = 8

// read reads the beginning of the next frame.
func (l *link) read(side Side, in *bufio.Reader) (Frame, error) {
	need := 4 + head
	if side == Answer {
		need = 4 + 4
	}
	start, err := in.Peek(need)
	if err != nil {
		return Frame{}, err
	}
	size := int(binary.BigEndian.Uint32(start)) + 4
	if size < need {
		return Frame{}, fmt.Errorf("a frame of %d bytes is not Kafka's", size)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if side == Answer {
		correlation := int32(binary.BigEndian.Uint32(start[4:]))
		frame := l.asked[correlation]
		delete(l.asked, correlation)
		frame.size = size
		return frame, nil
	}
	frame := Frame{
		API:         int16(binary.BigEndian.Uint16(start[4:])),
		Version:     int16(binary.BigEndian.Uint16(start[6:])),
		Correlation: int32(binary.BigEndian.Uint32(start[8:])),
		size:        size,
	}
	l.asked[frame.Correlation] = frame
	return frame, nil
}

// pass brings one frame over, or does what a rule says.
func (l *link) pass(side Side, frame Frame, in *bufio.Reader, out *bufio.Writer) error {
	candidates := l.wire.watching(side, frame.API)
	if len(candidates) == 0 {
		_, err := io.CopyN(out, in, int64(frame.size))
		return err
	}
	frame.Bytes = make([]byte, frame.size)
	if _, err := io.ReadFull(in, frame.Bytes); err != nil {
		return err
	}
	for _, c := range candidates {
		if !c.takes(frame) {
			continue
		}
		if err := out.Flush(); err != nil && side == Request {
			return err
		}
		send, err := c.apply(l)
		if err != nil || !send {
			return err
		}
		break
	}
	_, err := out.Write(frame.Bytes)
	return err
}
