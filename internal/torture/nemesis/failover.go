package nemesis

import (
	"context"
	"fmt"
	"time"
)

// failover ends the primary with signal 9 and promotes its standby. An asynchronous one is cut off a little before, so
// that it has not got the newest commits: PostgreSQL loses them, and Kafka may have them. Once a run.
type failover struct{ ground *Ground }

func (*failover) Name() string { return "postgres_failover" }
func (*failover) Kind() Kind   { return Kind{Target: targetPostgres, Disrupts: true, Instant: true} }

func (f *failover) Start(ctx context.Context) (Note, error) {
	if f.ground.promoted {
		return Note{}, ErrSpent
	}
	standby := f.ground.Standby
	note := Note{Detail: "to a synchronous standby"}
	if !f.ground.Sync {
		if err := standby.Detach(ctx); err != nil {
			return note, err
		}
		gap := time.Duration(500+f.ground.Random.IntN(2500)) * time.Millisecond
		pause(ctx, gap)
		note = Note{Detail: fmt.Sprintf("to a standby that misses %v", gap), Lost: true}
	}
	f.ground.Postgres.Kill()
	f.ground.promoted = true
	return note, standby.Promote(ctx)
}

func (*failover) Heal(context.Context) error { return nil }
