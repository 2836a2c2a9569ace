package relay

import (
	"context"
	"errors"
	"testing"

	"github.com/outboxrelay/relay/publisher"
)

// lateAcks is a producer that reports only while it is closed.
type lateAcks struct {
	reports publisher.Reports
	tags    []any
	dead    chan struct{}
}

func (p *lateAcks) Flush() {}

func (p *lateAcks) Send(_ context.Context, _ *publisher.Record, tag any) error {
	p.tags = append(p.tags, tag)
	return nil
}

func (p *lateAcks) Topic(context.Context, string) (publisher.Topic, error) {
	return publisher.Topic{Partitions: 1}, nil
}
func (p *lateAcks) TopicNow(ctx context.Context, name string) (publisher.Topic, error) {
	return p.Topic(ctx, name)
}
func (p *lateAcks) InFlight() int                        { return len(p.tags) }
func (p *lateAcks) Dead() <-chan struct{}                { return p.dead }
func (p *lateAcks) Err() error                           { return nil }
func (p *lateAcks) Begin() error                         { return nil }
func (p *lateAcks) Commit(context.Context) (bool, error) { return true, nil }
func (p *lateAcks) Abort(context.Context) error          { return nil }
func (p *lateAcks) Close() {
	for _, tag := range p.tags {
		p.reports.Acked(tag, 0, 1)
	}
	p.tags = nil
}

// The session ended while the begin record had no report; it was acked by the closing producer, and the first event
// was sent to a producer that was gone.
func TestDock_AnAckOfAClosedProducerBeginsNothing(t *testing.T) {
	d := newDock(nil)
	p := &lateAcks{reports: d, dead: make(chan struct{})}
	d.producer, d.tx = p, &parkedTransaction{producer: p, bracket: &bracket{topic: "p", id: "id"}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.begin(ctx); !errors.Is(err, errDockClosed) {
		t.Errorf("a transaction of a closed producer began: %v", err)
	}
}
