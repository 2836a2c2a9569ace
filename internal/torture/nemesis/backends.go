package nemesis

import (
	"context"
	"fmt"
)

// backends cuts the relays' connections to PostgreSQL from the server's side: all of them, or some.
type backends struct{ ground *Ground }

func (*backends) Name() string { return "backends" }
func (*backends) Kind() Kind   { return Kind{Target: targetPostgres, Disrupts: true, Instant: true} }

func (f *backends) Start(ctx context.Context) (Note, error) {
	conn, err := f.ground.Connect(ctx)
	if err != nil {
		return Note{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	share := 1.0
	if f.ground.Random.IntN(2) == 0 {
		share = 0.4
	}
	// The relay names its connections "relay NAME reader", and so on.
	const cut = `select count(pg_terminate_backend(pid)) from pg_stat_activity
		where starts_with(application_name, $1) and datname = current_database() and random() < $2`
	var n int
	if err := conn.QueryRow(ctx, cut, "relay "+f.ground.Outbox+" ", share).Scan(&n); err != nil {
		return Note{}, fmt.Errorf("cut connections: %w", err)
	}
	return Note{Detail: fmt.Sprintf("%d connections", n)}, nil
}

func (*backends) Heal(context.Context) error { return nil }
