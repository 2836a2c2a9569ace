package nemesis

import "context"

// postgresRestart restarts the server. Fast rolls back what is open; immediate leaves recovery to the start.
type postgresRestart struct {
	ground *Ground
	mode   string
}

func (f *postgresRestart) Name() string { return "postgres_" + f.mode }
func (*postgresRestart) Kind() Kind {
	return Kind{Target: targetPostgres, Disrupts: true, Instant: true}
}

func (f *postgresRestart) Start(ctx context.Context) (Note, error) {
	// A server that takes long to stop is started again even when the time for faults is over meanwhile: what follows
	// needs it.
	return Note{}, f.ground.primary().Restart(context.WithoutCancel(ctx), f.mode)
}

func (*postgresRestart) Heal(context.Context) error { return nil }

// postgresKill ends the server with signal 9, and starts it again at the end of the round.
type postgresKill struct{ ground *Ground }

func (*postgresKill) Name() string { return "postgres_kill" }
func (*postgresKill) Kind() Kind   { return Kind{Target: targetPostgres, Disrupts: true} }

func (f *postgresKill) Start(context.Context) (Note, error) {
	f.ground.primary().Kill()
	return Note{}, nil
}

func (f *postgresKill) Heal(ctx context.Context) error { return f.ground.primary().StartAgain(ctx) }
