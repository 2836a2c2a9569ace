package workload

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
)

// loaders write a backlog. Each owns the keys of its own numbers, so that the events of a key are committed in order.
const loaders = 4

// backlog writes a load by transactions of so many rows. What the writers leave to be done, hint bits and a checkpoint,
// is done before it returns: it is not the reader's.
func backlog(ctx context.Context, site *rig.Site, system sut.System, load sut.Load, each int) error {
	step := loaders
	if load.Keys%step != 0 || each >= load.Events {
		step = 1
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for first := 1; first <= step; first++ {
		group.Go(func() error {
			return fill(groupCtx, site, system, load, first, step, each, func(int) error { return nil })
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("write a backlog: %w", err)
	}
	for _, after := range []string{"vacuum analyze " + system.Table(), "checkpoint"} {
		if _, err := site.DB.Exec(ctx, after); err != nil {
			return fmt.Errorf("%s: %w", after, err)
		}
	}
	return nil
}

// fill writes every step-th event of a load from first on, in transactions of so many rows, and calls between after each.
func fill(ctx context.Context, site *rig.Site, system sut.System, load sut.Load, first, step, each int, between func(rows int) error) error {
	db, err := pgx.Connect(ctx, site.URL)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	// Nobody measures these commits.
	if _, err := db.Exec(ctx, "set synchronous_commit = off"); err != nil {
		return err
	}
	filler := load.Filler()
	for from := first; from <= load.Events; from += step * each {
		to := min(from+step*(each-1), load.Events)
		_, err := db.Exec(ctx, system.Insert(), site.Topic, from, to, step, filler, load.Keys)
		if err != nil {
			return errors.Join(errors.New("insert rows"), err)
		}
		if err := between((to-from)/step + 1); err != nil {
			return err
		}
	}
	return nil
}
