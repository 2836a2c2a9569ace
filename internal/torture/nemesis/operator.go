package nemesis

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/store"
)

// operatorHolds is a person who begins a transaction, drops all that is parked, thinks, and rolls back. The rows are
// neither there nor gone meanwhile.
type operatorHolds struct {
	ground *Ground
	conn   *pgx.Conn
}

func (*operatorHolds) Name() string { return "operator_holds" }
func (*operatorHolds) Kind() Kind   { return Kind{Target: targetOperator} }

func (f *operatorHolds) Start(ctx context.Context) (note Note, err error) {
	if f.conn, err = f.ground.Connect(ctx); err != nil {
		return Note{}, err
	}
	if _, err = f.conn.Exec(ctx, `begin; set local lock_timeout = '5s'`); err != nil {
		return Note{}, err
	}
	var n int
	err = f.conn.QueryRow(ctx, fmt.Sprintf(`select %s.parked_drop_where(everything => true, relay => $1)`,
		pgx.Identifier{f.ground.Schema}.Sanitize()), f.ground.Outbox).Scan(&n)
	if err != nil {
		return Note{}, fmt.Errorf("drop what is parked: %w", err)
	}
	return Note{Detail: fmt.Sprintf("%d events", n)}, nil
}

// Heal closes the connection, by which PostgreSQL rolls back.
func (f *operatorHolds) Heal(ctx context.Context) error {
	if f.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = f.conn.Close(ctx)
	f.conn = nil
	return nil
}

// replayRows is how many events one replay hands over at most.
const replayRows = 200

// operatorReplays is a person who asks twice for the same events, to a topic that is there or to one that is not. Nobody
// reads what comes of it; what it does to the other events is what counts. What can never go stays parked, and the run
// drops it in the end.
type operatorReplays struct{ ground *Ground }

func (*operatorReplays) Name() string { return "operator_replays" }
func (*operatorReplays) Kind() Kind   { return Kind{Target: targetOperator, Instant: true} }

func (f *operatorReplays) Start(ctx context.Context) (Note, error) {
	conn, err := f.ground.Connect(ctx)
	if err != nil {
		return Note{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	topic := f.ground.Replayed[f.ground.Random.IntN(len(f.ground.Replayed))]
	to := f.ground.ReplayedTo[f.ground.Random.IntN(len(f.ground.ReplayedTo))]
	until := time.Now()
	since := until.Add(-10 * time.Second)
	detail := fmt.Sprintf("%s to %s:", topic, to)
	for range 2 {
		n, err := replay(ctx, store.NewReplayer(conn, store.In(f.ground.Schema), f.ground.Outbox),
			&store.Replay{Topic: &topic, Since: &since, Until: &until, ToTopic: &to})
		if err != nil {
			return Note{Detail: detail}, err
		}
		detail += fmt.Sprintf(" %d events", n)
	}
	return Note{Detail: detail}, nil
}

// replay asks for events, hands over the first of them, and leaves it at that.
func replay(ctx context.Context, r *store.Replayer, want *store.Replay) (n int64, err error) {
	counted, err := r.Count(ctx, want)
	if err != nil || counted.Events == 0 {
		return 0, err
	}
	no, err := r.Ask(ctx, want, counted, map[string]string{})
	if err != nil {
		return 0, err
	}
	asked, err := r.List(ctx, &no, 1)
	if err != nil {
		return 0, err
	}
	if n, err = r.Step(ctx, &asked[0], replayRows); err != nil {
		return n, err
	}
	_, err = r.SetState(ctx, no, "running", "stopped")
	return n, err
}

func (*operatorReplays) Heal(context.Context) error { return nil }
