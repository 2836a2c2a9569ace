package nemesis

import (
	"context"
	"fmt"
)

// brokerKill ends a broker with signal 9.
type brokerKill struct {
	ground *Ground
	node   int
}

func (*brokerKill) Name() string { return "broker_kill" }
func (*brokerKill) Kind() Kind   { return Kind{Target: targetKafka, Disrupts: true} }

func (f *brokerKill) Start(context.Context) (Note, error) {
	f.node = f.ground.Random.IntN(f.ground.Nodes)
	f.ground.Kafka.KillNode(f.node)
	return broker(f.node), nil
}

func (f *brokerKill) Heal(ctx context.Context) error { return f.ground.Kafka.StartNode(ctx, f.node) }

// brokerRestart stops a broker cleanly: it hands its partitions over.
type brokerRestart struct {
	ground *Ground
	node   int
}

func (*brokerRestart) Name() string { return "broker_restart" }
func (*brokerRestart) Kind() Kind   { return Kind{Target: targetKafka, Disrupts: true} }

func (f *brokerRestart) Start(context.Context) (Note, error) {
	f.node = f.ground.Random.IntN(f.ground.Nodes)
	f.ground.Kafka.StopNode(f.node)
	return broker(f.node), nil
}

func (f *brokerRestart) Heal(ctx context.Context) error { return f.ground.Kafka.StartNode(ctx, f.node) }

// brokerFreeze stops a broker in its tracks: it answers nobody, and takes in later what was sent to it meanwhile.
type brokerFreeze struct {
	ground *Ground
	node   int
}

func (*brokerFreeze) Name() string { return "broker_freeze" }
func (*brokerFreeze) Kind() Kind   { return Kind{Target: targetKafka, Disrupts: true, Residue: true} }

func (f *brokerFreeze) Start(context.Context) (Note, error) {
	f.node = f.ground.Random.IntN(f.ground.Nodes)
	f.ground.Kafka.FreezeNode(f.node)
	return broker(f.node), nil
}

func (f *brokerFreeze) Heal(context.Context) error {
	f.ground.Kafka.ThawNode(f.node)
	return nil
}

func broker(node int) Note { return Note{Detail: fmt.Sprintf("node %d", node+1)} }
