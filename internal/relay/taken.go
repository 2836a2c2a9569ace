package relay

import (
	"context"
	"time"
)

// takenPatience is how long somebody's open transaction may have rows before the log names it: a person who commits at
// once is no news.
const takenPatience = 10 * time.Second

// taken follows the rows that an open transaction has and that the relay therefore leaves where they are.
type taken struct {
	rows  int // in this round
	since time.Time
	told  bool
}

// tellTaken says once who has rows for long, and once that nobody has any more.
func (r *runner) tellTaken(ctx context.Context) error {
	t := &r.taken
	switch {
	case t.rows == 0:
		if t.told {
			r.Log.Info("no open transaction has parked events any more")
		}
		*t = taken{}
	case t.since.IsZero():
		t.since = time.Now()
	case !t.told && time.Since(t.since) >= takenPatience:
		who, err := r.yard.Holders(ctx)
		if err != nil {
			return err
		}
		r.Log.Warn("an open transaction has parked events: they wait for its end, and so does what is behind them of their keys",
			"events", t.rows, "since", t.since.UTC().Format(time.RFC3339), "transactions", who)
		t.told = true
	}
	return nil
}
