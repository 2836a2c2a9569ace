package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/outboxrelay/relay/internal/fault"
	"github.com/outboxrelay/relay/internal/store"
)

// settleEvery is the least time between two settles while events flow. Anchors come from settles, so a page's scan
// begins at most about this far below the newest row; more often only makes WAL and empty windows.
const settleEvery = 50 * time.Millisecond

// settle moves the cursor behind what Kafka has acked.
type settle struct {
	settler *store.Settler
	ledger  *ledger
	aside   *aside
	fresh   chan<- store.Anchor // to feed; one that finds no room is left out, which is safe
	settled func(*store.Settlement)
	taken   []*batch
	// broken says that the last settle failed: whether taken is settled is not known.
	broken bool
}

// run settles until ctx ends, at most each settleEvery, without pauses once hurry is closed. It finishes a settle that
// it has begun: an interrupted one would leave its outcome unknown.
func (s *settle) run(ctx context.Context, hurry <-chan struct{}) error {
	for {
		select {
		case <-s.ledger.done:
		case <-ctx.Done():
			return nil
		}
		if err := s.once(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		pause := time.NewTimer(settleEvery)
		select {
		case <-pause.C:
		case <-hurry:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// once settles the longest acked prefix, all of it in one statement.
func (s *settle) once(ctx context.Context) error {
	s.taken = s.ledger.take(s.taken)
	if len(s.taken) == 0 {
		return nil
	}
	sum := sumUp(s.taken)
	err := fault.At("settle-ready")
	var anchor store.Anchor
	if err == nil {
		anchor, err = s.settler.Settle(ctx, &sum.Settlement)
	}
	if err == nil {
		err = fault.At("settle-done")
	}
	if err != nil {
		s.broken = true
		return fmt.Errorf("move the cursor: %w", err)
	}
	s.aside.settled(sum.standings)
	s.ledger.parkedAway(sum.parked)
	s.ledger.recycle(s.taken)
	select {
	case s.fresh <- anchor:
	default:
	}
	s.settled(&sum.Settlement)
	return nil
}

// settling is a settlement and who is to be told when it is done.
type settling struct {
	store.Settlement
	parked    int64 // what its parked rows count
	standings []*standing
}

// sumUp is one settlement of several batches.
func sumUp(batches []*batch) *settling {
	last := &batches[len(batches)-1].settled
	sum := &settling{Settlement: store.Settlement{Cursor: last.Cursor, Floor: last.Floor, Newest: last.Newest}}
	for _, b := range batches {
		sum.Books.Add(&b.settled.Books)
		sum.Parked = append(sum.Parked, b.settled.Parked...)
		sum.parked += b.parked
		sum.standings = append(sum.standings, b.standings...)
	}
	return sum
}
