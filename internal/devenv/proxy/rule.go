package proxy

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// APIs by their number: https://kafka.apache.org/protocol#protocol_api_keys
const (
	Produce           int16 = 0
	Fetch             int16 = 1
	ListOffsets       int16 = 2
	Metadata          int16 = 3
	FindCoordinator   int16 = 10
	InitProducerID    int16 = 22
	AddPartitionsToTx int16 = 24
	EndTxn            int16 = 26
)

// Side of a conversation.
type Side int

// A client asks, a broker answers.
const (
	Request Side = iota
	Answer
)

// Action is what happens to a frame.
type Action int

const (
	// Copy lets the frame pass, and keeps it for [Catch.Replay].
	Copy Action = iota
	// Hold keeps the frame, and what comes behind it on its connection, until Release or Drop. It is sent then even
	// when its client is gone.
	Hold
	// Delay is a Hold of Rule.For.
	Delay
	// Swallow drops the frame; the connection goes on. Nobody answers the client.
	Swallow
	// Cut ends the connection in place of the frame.
	Cut
)

// Frame is one request or answer. Bytes begin with the four of its size. An answer has the API and version of its
// request.
type Frame struct {
	API, Version int16
	Correlation  int32
	Bytes        []byte

	size int
}

// Rule says which frames an action is for.
type Rule struct {
	Side Side
	API  int16
	Do   Action
	For  time.Duration    // Delay only
	Skip int              // so many frames pass before the first that is taken
	Max  int              // so many are taken, and kept in memory; 0 is one, -1 every one
	If   func(Frame) bool // looks at the whole frame; nil is every one. Not counted in Skip when false
}

// Catch is a rule at work. Safe from many goroutines.
type Catch struct {
	wire   *Wire
	rule   Rule
	caught chan struct{} // closed at the first

	mu     sync.Mutex
	frames []Frame
	passed int
	done   bool
	over   chan struct{} // closed by Release and Drop
	sends  bool          // what is held is sent; written before over is closed
}

// On sets a rule. Of several that want a frame the oldest has it.
func (w *Wire) On(rule Rule) *Catch {
	c := &Catch{wire: w, rule: rule, caught: make(chan struct{}), over: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.catches = append(slices.Clone(w.catches), c)
	return c
}

// Wait returns the first frame that was caught, when it is.
func (c *Catch) Wait(ctx context.Context) (Frame, error) {
	select {
	case <-c.caught:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.frames[0], nil
	case <-ctx.Done():
		return Frame{}, fmt.Errorf("wait for a frame of API %d: %w", c.rule.API, ctx.Err())
	}
}

// Caught is how many frames were taken so far.
func (c *Catch) Caught() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.frames)
}

// Release ends the rule: frames that are held are sent, and no more is taken. Safe twice.
func (c *Catch) Release() { c.finish(true) }

// Drop ends the rule: frames that are held are never sent, and no more is taken. Safe twice.
func (c *Catch) Drop() { c.finish(false) }

// Replay sends the first frame that was caught, a request, once more, on a connection of its own, as a late copy in the
// network would come. It returns the broker's answer from the correlation id on.
func (c *Catch) Replay(ctx context.Context) ([]byte, error) {
	frame, err := c.Wait(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.wire.target)
	if err != nil {
		return nil, fmt.Errorf("replay a frame of API %d: %w", frame.API, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := conn.Write(frame.Bytes); err != nil {
		return nil, fmt.Errorf("replay a frame of API %d: %w", frame.API, err)
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, fmt.Errorf("read the answer to a replayed frame of API %d: %w", frame.API, err)
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, fmt.Errorf("read the answer to a replayed frame of API %d: %w", frame.API, err)
	}
	return answer, nil
}

func (c *Catch) finish(sends bool) {
	c.wire.mu.Lock()
	c.wire.catches = slices.DeleteFunc(slices.Clone(c.wire.catches), func(other *Catch) bool { return other == c })
	c.wire.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.done {
		c.done, c.sends = true, sends
		close(c.over)
	}
}

// watching gives the rules that may want a frame.
func (w *Wire) watching(side Side, api int16) (found []*Catch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.catches {
		if c.rule.Side == side && c.rule.API == api {
			found = append(found, c)
		}
	}
	return found
}

// takes says whether the rule is for this frame, and counts it.
func (c *Catch) takes(frame Frame) bool {
	if c.rule.If != nil && !c.rule.If(frame) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.passed < c.rule.Skip {
		c.passed++
		return false
	}
	if c.done || (c.rule.Max >= 0 && len(c.frames) >= max(c.rule.Max, 1)) {
		return false
	}
	c.frames = append(c.frames, frame)
	if len(c.frames) == 1 {
		close(c.caught)
	}
	return true
}

// apply does what the rule says to a frame that it took, and says whether the frame is sent after all.
func (c *Catch) apply(l *link) (send bool, err error) {
	switch c.rule.Do {
	case Swallow:
		return false, nil
	case Cut:
		l.end()
		return false, errEnd
	case Hold:
		return c.hold(nil)
	case Delay:
		timer := time.NewTimer(c.rule.For)
		defer timer.Stop()
		return c.hold(timer.C)
	default:
		return true, nil
	}
}

// hold waits for the end of the rule, of the time or of the proxy.
func (c *Catch) hold(enough <-chan time.Time) (send bool, err error) {
	select {
	case <-c.over:
		return c.sends, nil
	case <-enough:
		return true, nil
	case <-c.wire.closed:
		return false, errEnd
	}
}
