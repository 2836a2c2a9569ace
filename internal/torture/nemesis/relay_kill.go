package nemesis

import "context"

// relayKill ends a relay with signal 9, and starts another process in its place.
type relayKill struct {
	ground *Ground
	victim int
}

func (*relayKill) Name() string { return "relay_kill" }
func (*relayKill) Kind() Kind   { return Kind{Target: targetRelay, Disrupts: true} }

func (f *relayKill) Start(ctx context.Context) (Note, error) {
	var leader bool
	f.victim, leader = f.ground.victim(ctx)
	f.ground.Relays.Kill(f.victim)
	return Note{Replica: f.victim + 1, Leader: leader}, nil
}

func (f *relayKill) Heal(context.Context) error { return f.ground.Relays.Start(f.victim) }
