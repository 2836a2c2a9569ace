package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/outboxrelay/relay/internal/fault"
	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

// followEvery is how often a follower looks whether the lease is free.
const followEvery = 500 * time.Millisecond

// fencedPause is how long a leader lets another producer with its transactional id be, when it was fenced twice within
// that time. Who takes back at once is taken back from at once.
const fencedPause = time.Minute

// Relay leads or follows until it is told to stop.
type Relay struct {
	Options
	state           *State
	postgres, kafka *outage // over all terms
}

// New makes a relay that does nothing before Run.
func New(o Options) *Relay {
	state := newState()
	for _, topic := range o.Topics {
		state.topic(topic)
	}
	return &Relay{Options: o, state: state,
		postgres: newOutage(o.Log, "PostgreSQL", &state.postgres), kafka: newOutage(o.Log, "Kafka", &state.kafka)}
}

// State is what the relay tells about itself, at any time.
func (r *Relay) State() *State { return r.state }

// Run leads and follows until stop ends; then it finishes what is in flight, gives the lease up and returns nil. When
// ctx ends it cuts: what was in flight is delivered again by the next leader. Servers that are away, or not ready, are
// waited for without end.
func (r *Relay) Run(ctx, stop context.Context) error {
	wait := newBackoff(100*time.Millisecond, 5*time.Second)
	for ctx.Err() == nil && stop.Err() == nil {
		err := r.follow(ctx, stop, func() { r.postgres.over(); wait.reset() })
		if err != nil && stop.Err() == nil && ctx.Err() == nil {
			r.postgres.is(err)
			wait.pause(stop)
		}
	}
	return nil
}

// follow holds one connection for the lease and leads whenever the lease is free.
func (r *Relay) follow(ctx, stop context.Context, reached func()) error {
	lease, err := r.openLease(stop)
	if err != nil {
		return err
	}
	defer func() { lease.Close() }()
	following := false
	for stop.Err() == nil {
		asked := time.Now()
		epoch, ok, err := lease.Acquire(stop)
		if err != nil {
			return err
		}
		reached()
		if ok {
			following = false
			if lease, err = r.lead(ctx, stop, lease, epoch, asked); err != nil {
				return err
			}
			continue
		}
		r.state.followed()
		if !following {
			following = true
			holder, _ := lease.Holder(stop)
			r.Log.Info("following", "leader", holder)
		}
		sleep(stop, followEvery)
	}
	return nil
}

func (r *Relay) openLease(ctx context.Context) (*store.Lease, error) {
	conn, err := store.Connect(ctx, r.Postgres, "relay "+r.Name+" lease")
	if err != nil {
		return nil, err
	}
	names := store.In(r.Schema)
	if _, err := store.Identify(ctx, conn, names); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return store.NewLease(conn, names, r.Name, r.Holder, r.LeaseTTL), nil
}

// lead runs one term: sessions, one after the other, while the lease is renewed. It gives back the lease's connection,
// which may be a new one.
func (r *Relay) lead(ctx, stop context.Context, lease *store.Lease, epoch int64, asked time.Time) (*store.Lease, error) {
	if err := fault.At("acquired"); err != nil {
		return lease, err
	}
	trust := newTrust()
	trust.renewed(asked, r.LeaseTTL)
	r.state.lead(epoch)
	r.Log.Info("leading", "epoch", epoch)
	termCtx, end := context.WithCancelCause(ctx)
	renewed := make(chan *store.Lease, 1)
	go func() {
		l, err := r.renew(termCtx, lease, epoch, trust)
		if err != nil && ctx.Err() == nil {
			// Said now: the session may need a while to end, and another may lead by then.
			r.state.follow()
			r.Log.Warn("stepping down", "epoch", epoch, "error", err)
		}
		end(err)
		renewed <- l
	}()
	caughtUp := make(chan struct{})
	tidied := r.tidy(termCtx, caughtUp)
	doubt, fenced := r.sessions(termCtx, stop, epoch, trust, sync.OnceFunc(func() { close(caughtUp) }))
	lost := context.Cause(termCtx)
	if lost == nil && fenced != nil {
		lost = fenced
		r.Log.Warn("stepping down", "epoch", epoch, "error", lost)
	}
	end(nil)
	<-tidied
	lease = <-renewed
	r.state.follow()
	if lost != nil && ctx.Err() == nil {
		return lease, nil
	}
	if time.Since(doubt) < r.LeaseTTL {
		// A successor may not start before what was sent without an answer has expired, as after a crash.
		r.Log.Info("lease left to expire: records sent to Kafka have no answer and may still arrive", "epoch", epoch)
		return lease, nil
	}
	releaseCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	switch err := lease.Release(releaseCtx, epoch); {
	case errors.Is(err, store.ErrFenced): // a session found that out
		r.Log.Warn("stepping down", "epoch", epoch, "error", err)
	case err != nil:
		return lease, err
	default:
		r.Log.Info("lease released", "epoch", epoch)
	}
	return lease, nil
}

// renew keeps the lease until ctx ends, over reconnections if need be, and fails when it is lost or can no longer be
// trusted.
func (r *Relay) renew(ctx context.Context, lease *store.Lease, epoch int64, trust *trust) (*store.Lease, error) {
	every := renewEvery(r.LeaseTTL)
	pause, failed, away := every, false, false
	isAway := func(err error) { away = true; r.postgres.is(err) }
	for {
		sleep(ctx, pause)
		if ctx.Err() != nil {
			return lease, nil
		}
		asked := time.Now()
		err := r.renewOnce(ctx, lease, epoch, trust.left())
		switch {
		case err == nil:
			trust.renewed(asked, r.LeaseTTL)
			if away {
				r.postgres.over()
			}
			pause, failed, away = every, false, false
			continue
		case errors.Is(err, store.ErrFenced):
			return lease, err
		case trust.left() <= 0:
			return lease, fmt.Errorf("%w: %w", errTrustOver, err)
		case ctx.Err() != nil:
			return lease, nil
		}
		if failed { // a connection that was ended once says nothing: a restart may long be over when this one finds out
			isAway(err)
		}
		failed = true
		lease.Close()
		again, openErr := r.reopenLease(ctx, trust, isAway)
		if openErr != nil {
			return lease, openErr
		}
		lease, pause = again, 0
	}
}

func (r *Relay) renewOnce(ctx context.Context, lease *store.Lease, epoch int64, left time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, max(left, time.Millisecond))
	defer cancel()
	if err := fault.At("renew"); err != nil {
		return err
	}
	return lease.Renew(ctx, epoch)
}

// reopenLease tries to get a new connection for as long as the lease can be trusted, and tells of each try that fails.
func (r *Relay) reopenLease(ctx context.Context, trust *trust, isAway func(error)) (*store.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, max(trust.left(), time.Millisecond))
	defer cancel()
	wait := newBackoff(50*time.Millisecond, time.Second)
	for {
		lease, err := r.openLease(ctx)
		if err == nil {
			return lease, nil
		}
		if ctx.Err() != nil || trust.left() <= 0 {
			return nil, fmt.Errorf("%w: %w", errTrustOver, err)
		}
		isAway(err)
		wait.pause(ctx)
	}
}

// sessions runs sessions until ctx or stop ends. Each starts from the cursor row. It gives the time at which the last
// of them ended, if that one has left records without an answer, else zero; and the error when the lease is another's.
// caughtUp is called whenever a look has found all there was.
func (r *Relay) sessions(ctx, stop context.Context, epoch int64, trust *trust, caughtUp func()) (doubt time.Time, lost error) {
	wait := newBackoff(50*time.Millisecond, 5*time.Second)
	var remembered *memory
	var fenced time.Time
	for ctx.Err() == nil && stop.Err() == nil {
		if err := r.Ping(stop); err != nil {
			if stop.Err() == nil {
				r.kafka.is(err)
				wait.pause(stop)
			}
			continue
		}
		r.kafka.over()
		began := time.Now()
		s := &session{Options: &r.Options, state: r.state, epoch: epoch, trust: trust, memory: remembered,
			opened: r.postgres.over, caughtUp: caughtUp}
		err := s.run(ctx, stop)
		remembered = s.memory
		if s.ledger != nil { // it began, so it sent again what an earlier one had left
			doubt = time.Time{}
		}
		if s.adrift() {
			doubt = time.Now()
		}
		switch {
		case errors.Is(err, errDrained):
			r.Log.Info("session ended", "epoch", epoch, "reason", reason(err))
		case errors.Is(err, errRecycle):
			r.Log.Info("session ended", "epoch", epoch, "reason", reason(err), "why", err)
			wait.reset()
			continue
		case s.ledger == nil && !publisher.OfKafka(err) && !undecidable(err) &&
			!errors.Is(err, store.ErrFenced) && ctx.Err() == nil:
			r.postgres.is(err) // it never began
		default:
			r.Log.Warn("session ended", "epoch", epoch, "reason", reason(err), "unsettled", s.unsettled, "error", err)
		}
		if errors.Is(err, store.ErrFenced) {
			return doubt, err
		}
		if errors.Is(err, errDrained) || ctx.Err() != nil {
			return doubt, nil
		}
		if publisher.Fenced(err) { // while the lease is ours: the coordinator timed a transaction out, or it is a stranger
			if time.Since(fenced) < fencedPause {
				r.Log.Error("another producer uses our transactional id: find it, or set another kafka.transactional_id",
					"paused", fencedPause)
				sleep(stop, fencedPause)
			}
			fenced = time.Now()
		}
		// What ended a session that had got to work is new, not the trouble that the pauses have grown by.
		if time.Since(began) > time.Second {
			wait.reset()
		}
		wait.pause(stop)
	}
	return doubt, nil
}
