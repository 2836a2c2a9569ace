package nemesis

import (
	"context"
	"errors"

	"github.com/outboxrelay/relay/internal/devenv/proxy"
)

// frames takes single requests or answers out of the conversation with the brokers.
type frames struct {
	ground *Ground
	name   string
	rule   proxy.Rule
	set    []*proxy.Catch
}

func (f *frames) Name() string { return f.name }
func (*frames) Kind() Kind     { return Kind{Target: targetKafkaNet, Disrupts: true} }

// allFrames are the conversations that go wrong in ways of their own.
func allFrames(g *Ground) []Fault {
	all := []Fault{
		// The brokers have the records, the relay does not know.
		&frames{ground: g, name: "produce_unanswered", rule: proxy.Rule{Side: proxy.Answer, API: proxy.Produce, Do: proxy.Cut, Max: 4}},
	}
	if g.Transactions {
		all = append(all,
			// The end of a transaction comes when its sender has given it up, and may be dead.
			&frames{ground: g, name: "end_txn_late", rule: proxy.Rule{Side: proxy.Request, API: proxy.EndTxn, Do: proxy.Hold}},
			&frames{ground: g, name: "end_txn_unanswered", rule: proxy.Rule{Side: proxy.Answer, API: proxy.EndTxn, Do: proxy.Cut, Max: 2}},
			&frames{ground: g, name: "end_txn_silent", rule: proxy.Rule{Side: proxy.Answer, API: proxy.EndTxn, Do: proxy.Swallow}})
	}
	return all
}

func (f *frames) Start(context.Context) (Note, error) {
	f.set = nil
	for i := range f.ground.Nodes {
		f.set = append(f.set, f.ground.Fleet.Node(i).Wire.On(f.rule))
	}
	return Note{}, nil
}

// Heal sends what was held.
func (f *frames) Heal(context.Context) error {
	caught := 0
	for _, c := range f.set {
		caught += c.Caught()
		c.Release()
	}
	if caught == 0 {
		return errors.New("no frame came by")
	}
	return nil
}
