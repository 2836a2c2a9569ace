package nemesis

import "context"

// relayStop asks a relay to stop, as an upgrade does, and starts another process in its place.
type relayStop struct {
	ground *Ground
	victim int
}

func (*relayStop) Name() string { return "relay_stop" }
func (*relayStop) Kind() Kind   { return Kind{Target: targetRelay, Disrupts: true} }

func (f *relayStop) Start(ctx context.Context) (Note, error) {
	var leader bool
	f.victim, leader = f.ground.victim(ctx)
	return Note{Replica: f.victim + 1, Leader: leader}, f.ground.Relays.Stop(ctx, f.victim)
}

func (f *relayStop) Heal(context.Context) error { return f.ground.Relays.Start(f.victim) }
