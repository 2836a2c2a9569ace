package relay

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

// liar is a producer whose first commit is said to have taken long, and to have succeeded, and did not happen.
type liar struct {
	publisher.Transactional
	lied *atomic.Bool
}

func (l liar) Commit(ctx context.Context) (clean bool, err error) {
	if l.lied.Swap(true) {
		return l.Transactional.Commit(ctx)
	}
	return false, l.Abort(ctx)
}

// lying lets the producers under one of the two transactional ids lie once, together.
func lying(o Options, parked bool) Options {
	exactly, lied := *o.ExactlyOnce, new(atomic.Bool)
	open := exactly.Open
	exactly.Open = func(ctx context.Context, id string, r publisher.Reports) (publisher.Transactional, error) {
		p, err := open(ctx, id, r)
		if err != nil || parked != (len(id) > len(parkedID) && id[len(id)-len(parkedID):] == parkedID) {
			return p, err
		}
		return liar{p, lied}, nil
	}
	o.ExactlyOnce = &exactly
	return o
}

// TestDoubt_ASlowCommitIsSettledByTheProgressRecord: a broker that was killed amid a commit may answer "committed"
// when it is back, and never have written the end of the transaction. Only the progress record tells.
func TestDoubt_ASlowCommitIsSettledByTheProgressRecord(t *testing.T) {
	r := newRig(t, map[string]int32{"orders": 4, progressTopic: 1})
	r.showOnFailure()
	w := r.start(lying(r.exactly(), false))
	r.write50(1)
	r.settled(20 * time.Second)
	r.write50(2)
	r.settled(20 * time.Second)
	w.halt(t)
	checkOrder(t, r.committed("orders"), 100, 0)
	if ends := w.State().Report().SessionEnds; ends["recycled"] != 1 {
		t.Errorf("sessions ended: %v", ends)
	}
}

// TestDoubt_SoIsAShipmentOfParkedEvents: the same for the second producer, which deletes what it has published.
func TestDoubt_SoIsAShipmentOfParkedEvents(t *testing.T) {
	r := newRig(t, map[string]int32{"orders": 1, progressTopic: 1})
	r.showOnFailure()
	r.exec("insert into outbox.events (topic, key, payload, deliver_at) select 'orders', n % 10, to_json(n), now() + interval '1 second' from generate_series(1, 50) n")
	w := r.start(lying(r.exactly(), true))
	eventually(t, "all is delivered", 20*time.Second, func() bool {
		return queryRow[int](r, "select count(*) from outbox.delivery where status <> 'delivered'") == 0
	})
	w.halt(t)
	checkOrder(t, r.committed("orders"), 50, 0)
	if n := w.State().Report().Delivered; n != 50 {
		t.Errorf("%d events are counted as delivered", n)
	}
}
