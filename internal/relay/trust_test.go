package relay

import (
	"testing"
	"time"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/franz"
)

var _ gated = (*franz.Producer)(nil) // else its records would be bound by nothing

// told is a producer that notes until when it may write.
type told struct {
	publisher.Producer
	until []time.Time
}

func (p *told) Trust(until time.Time) { p.until = append(p.until, until) }

func TestTrust_TellsGatedProducersOfEachRenewal(t *testing.T) {
	const ttl = 20 * time.Second
	trust := newTrust()
	asked := time.Now()
	trust.renewed(asked, ttl)
	p := &told{}
	hold, release := trust.gate(p, ttl)
	if hold != 0 || len(p.until) != 1 || p.until[0].Sub(asked) != ttl-margin(ttl) {
		t.Fatalf("at the beginning: hold %v, told %v after %v", hold, p.until, asked)
	}
	trust.renewed(asked.Add(time.Second), ttl)
	if len(p.until) != 2 || p.until[1].Sub(p.until[0]) != time.Second {
		t.Fatalf("after a renewal: %v", p.until)
	}
	release()
	trust.renewed(asked.Add(2*time.Second), ttl)
	if len(p.until) != 2 || len(trust.gated) != 0 {
		t.Errorf("after its release: %v", p.until)
	}
	if hold, _ := trust.gate(struct{ publisher.Producer }{}, ttl); hold != MessageTimeout(ttl) {
		t.Errorf("a producer without a gate: hold %v, want its message timeout", hold)
	}
}

// The hot path's producer and the dock's are both bound, and let go with their session.
func TestSession_GatesItsProducers(t *testing.T) {
	s := &session{Options: &Options{LeaseTTL: 20 * time.Second}, trust: newTrust()}
	s.Open = func(publisher.Reports) (publisher.Producer, error) { return &closable{}, nil }
	d := newDock(s.gatedOpen())
	if _, err := d.ready(); err != nil {
		t.Fatal(err)
	}
	if len(s.trust.gated) != 1 || d.hold != 0 {
		t.Errorf("%d producers are bound, hold %v", len(s.trust.gated), d.hold)
	}
	d.close()
	if len(s.trust.gated) != 0 {
		t.Error("a closed producer is still bound")
	}
}

type closable struct{ told }

func (*closable) Close()                {}
func (*closable) Dead() <-chan struct{} { return nil }
