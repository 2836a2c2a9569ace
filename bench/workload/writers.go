package workload

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/outboxrelay/relay/bench/figures"
	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
)

// bareTable has the columns that an application fills, and one index.
const bareTable = `create table bare_events (
	seq bigint primary key generated always as identity,
	id uuid not null default gen_random_uuid(), topic text not null, key text, type text, payload json,
	created_at timestamptz not null default now())`

// writers takes how many transactions a second sixteen connections make that insert one event each: into a bare table
// with one index, and into the outbox with the relay off, polling and listening.
func writers(ctx context.Context, b *Bench, _ sut.Kind) (runs []figures.Run, err error) {
	for _, wake := range []string{"", "off", "poll", "listen"} {
		run, err := b.writersWith(ctx, wake)
		if err != nil {
			return runs, fmt.Errorf("writers, relay %q: %w", wake, err)
		}
		runs = append(runs, run)
	}
	return runs, nil
}

// writersWith names its run as the table of ratios knows it.
func (b *Bench) writersWith(ctx context.Context, wake string) (run figures.Run, err error) {
	run = figures.Run{Values: map[string]float64{}, System: map[string]string{
		"": "bare table", "off": "outbox, relay off", "poll": "outbox, relay polling", "listen": "outbox, relay listening"}[wake]}
	var relay *sut.Relay
	kind := sut.Kind{Name: run.System, Open: func(site *rig.Site, _ sut.Load) sut.System {
		relay = sut.NewRelay(site, b.Relay, "RELAY_OUTBOX_WAKE="+wake)
		return relay
	}}
	err = b.on(ctx, kind, sut.Load{}, func(site *rig.Site, system sut.System) error {
		insert := system.Insert()
		if wake == "" {
			if _, err := site.DB.Exec(ctx, bareTable); err != nil {
				return err
			}
			insert = sut.InsertInto("bare_events")
		}
		runs := wake == "poll" || wake == "listen"
		if runs {
			if err := errors.Join(system.Begin(ctx), relay.Leads(ctx)); err != nil {
				return err
			}
		}
		until, err := disturbance()
		if err != nil {
			return err
		}
		n, err := closedLoop(ctx, site, insert, b.Sizes.Writers)
		if err != nil {
			return err
		}
		run.Events = n
		run.Values["inserts_per_second"] = float64(n) / b.Sizes.Writers.Seconds()
		if run.Others, err = until(); err != nil || !runs {
			return err
		}
		if err := errors.Join(stored(ctx, site, system, int64(n)), system.End(ctx)); err != nil {
			return err
		}
		tally, err := readBack(ctx, site, sut.Load{Events: n, Keys: math.MaxInt32, Bytes: 300})
		if err == nil {
			run.Fault = tally.fault(0)
		}
		return err
	})
	return run, err
}

// closedLoop inserts as fast as the answers come, and gives the count. Events have a key each: there is no order here.
func closedLoop(ctx context.Context, site *rig.Site, insert string, length time.Duration) (int, error) {
	group, ctx := errgroup.WithContext(ctx)
	var serial atomic.Int64
	filler := sut.Load{Bytes: 300}.Filler()
	end := time.Now().Add(length)
	for range connections {
		group.Go(func() error {
			db, err := pgx.Connect(ctx, site.URL)
			if err != nil {
				return err
			}
			defer db.Close(context.WithoutCancel(ctx))
			for time.Now().Before(end) {
				n := serial.Add(1)
				if _, err := db.Exec(ctx, insert, site.Topic, n, n, 1, filler, math.MaxInt32); err != nil {
					return fmt.Errorf("insert: %w", err)
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return int(serial.Load()), err
}
