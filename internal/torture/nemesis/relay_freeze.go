package nemesis

import (
	"context"
	"time"
)

// afterLease is how much longer than the lease a relay stays frozen: time for a follower to take over.
const afterLease = 2 * time.Second

// relayFreeze stops a relay in its tracks for longer than the lease lasts, and lets it go on: a zombie.
type relayFreeze struct {
	ground *Ground
	victim int
	since  time.Time
}

func (*relayFreeze) Name() string { return "relay_freeze" }
func (*relayFreeze) Kind() Kind   { return Kind{Target: targetRelay, Disrupts: true} }

func (f *relayFreeze) Start(ctx context.Context) (Note, error) {
	var leader bool
	f.victim, leader = f.ground.victim(ctx)
	f.ground.Relays.Freeze(f.victim)
	f.since = time.Now()
	return Note{Replica: f.victim + 1, Leader: leader}, nil
}

func (f *relayFreeze) Heal(ctx context.Context) error {
	pause(ctx, time.Until(f.since.Add(f.ground.LeaseTTL+afterLease)))
	f.ground.Relays.Thaw(f.victim)
	return nil
}
