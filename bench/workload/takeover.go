package workload

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/outboxrelay/relay/bench/figures"
	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
)

const (
	takeOverRate = 200
	takeOverRoom = takeOverRate * 180
	takeOverMost = time.Minute
)

// takeover stops a leader by SIGTERM, and its successor by signal 9, each with a follower beside it, and takes the
// longest pause that a consumer sees.
func takeover(ctx context.Context, b *Bench, kind sut.Kind) (_ []figures.Run, err error) {
	run := figures.Run{Values: map[string]float64{}}
	load := sut.Load{Events: takeOverRoom, Keys: mostKeys, Bytes: 300}
	err = b.on(ctx, kind, load, func(site *rig.Site, system sut.System) error {
		clock := clock{began: time.Now()}
		p := &pace{site: site, insert: system.Insert(), perSecond: takeOverRate, first: 1, clock: clock,
			committed: make([]atomic.Int64, takeOverRoom), behind: make([]atomic.Int64, takeOverRoom)}
		p.endless()
		a, err := consume(ctx, site, clock, takeOverRoom)
		if err != nil {
			return err
		}
		defer a.close()
		s := &succession{kind: kind, site: site, load: load, lease: b.Sizes.Lease, pace: p, arrivals: a}
		defer s.close()
		until, err := disturbance()
		if err != nil {
			return err
		}
		if err := s.run(ctx, run.Values); err != nil {
			return err
		}
		if run.Others, err = until(); err != nil {
			return err
		}
		load.Events, run.Events = s.written, s.written
		tally, err := readBack(ctx, site, load)
		if err != nil {
			return err
		}
		run.Values["copies"] = float64(tally.copies)
		allowed := math.MaxInt
		if kind.Exactly {
			allowed = 0
		}
		run.Fault = tally.fault(allowed)
		return nil
	})
	return []figures.Run{run}, err
}

// succession is relays that take over from one another, under a load.
type succession struct {
	kind     sut.Kind
	site     *rig.Site
	load     sut.Load
	lease    string
	pace     *pace
	arrivals *arrivals
	relays   []*sut.Relay
	written  int
}

func (s *succession) run(ctx context.Context, values map[string]float64) error {
	first, err := s.start(ctx, (*sut.Relay).Leads)
	if err != nil {
		return err
	}
	second, err := s.start(ctx, (*sut.Relay).Follows)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	group.Go(func() error { return s.pace.run(groupCtx, func() { close(ready) }) })
	fail := func(err error) error { // the load's own error says more
		s.pace.stop()
		return errors.Join(err, group.Wait())
	}
	select {
	case <-ready:
	case <-groupCtx.Done():
		return group.Wait()
	}
	if err := s.after(ctx, 0); err != nil {
		return fail(err)
	}
	if values["stopped_seconds"], err = s.without(ctx, func() error { return first.End(ctx) }); err != nil {
		return fail(err)
	}
	third, err := s.start(ctx, (*sut.Relay).Follows)
	if err != nil {
		return fail(err)
	}
	if values["killed_seconds"], err = s.without(ctx, func() error { second.Close(); return nil }); err != nil {
		return fail(err)
	}
	s.written = s.pace.stop()
	if err := group.Wait(); err != nil {
		return err
	}
	return errors.Join(s.arrivals.all(ctx, s.written), third.End(ctx))
}

func (s *succession) start(ctx context.Context, is func(*sut.Relay, context.Context) error) (*sut.Relay, error) {
	relay, ok := s.kind.Open(s.site, s.load).(*sut.Relay)
	if !ok {
		return nil, fmt.Errorf("%s does not take over from itself", s.kind.Name)
	}
	if s.lease != "" && s.kind.Exactly {
		relay.With("RELAY_LEASE_TTL=" + s.lease)
	}
	s.relays = append(s.relays, relay)
	ctx, cancel := context.WithTimeout(ctx, takeOverMost)
	defer cancel()
	if err := relay.Begin(ctx); err != nil {
		return nil, err
	}
	return relay, is(relay, ctx)
}

func (s *succession) close() {
	for _, relay := range s.relays {
		relay.Close()
	}
}

// without ends a leader, and gives the longest pause of arrivals, in seconds, from then until an event has come that was
// committed a second later.
func (s *succession) without(ctx context.Context, end func() error) (float64, error) {
	from := s.pace.clock.now()
	if err := end(); err != nil {
		return 0, err
	}
	if err := s.after(ctx, s.pace.clock.now()+int64(time.Second)); err != nil {
		return 0, err
	}
	var came []int64
	for n := range s.arrivals.times {
		if at := s.arrivals.times[n].Load(); at > from {
			came = append(came, at)
		}
	}
	slices.Sort(came)
	longest, last := int64(0), from
	for _, at := range came {
		longest, last = max(longest, at-last), at
	}
	return float64(longest) / 1e9, nil
}

// after waits until an event has come that was committed after a time.
func (s *succession) after(ctx context.Context, at int64) error {
	for limit := time.Now().Add(takeOverMost); time.Now().Before(limit); {
		for n := range s.pace.committed {
			if s.arrivals.times[n].Load() > 0 && s.pace.committed[n].Load() > at {
				return nil
			}
		}
		if err := rig.Sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("no event arrived within %v of the end of the leader", takeOverMost)
}
