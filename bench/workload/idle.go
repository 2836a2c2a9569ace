package workload

import (
	"context"
	"errors"
	"time"

	"github.com/outboxrelay/relay/bench/figures"
	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
)

// settling is what a system that has just worked needs to come to rest.
const settling = 4 * time.Second

// idle takes what a system and PostgreSQL use while nothing happens.
func idle(ctx context.Context, b *Bench, kind sut.Kind) (_ []figures.Run, err error) {
	load := sut.Load{Events: 1, Keys: 1, Bytes: 300}
	run := figures.Run{Events: 1, Values: map[string]float64{}}
	err = b.on(ctx, kind, load, func(site *rig.Site, system sut.System) error {
		if err := system.Begin(ctx); err != nil {
			return err
		}
		// One event says that it works.
		if _, err := site.DB.Exec(ctx, system.Insert(), site.Topic, 1, 1, 1, load.Filler(), load.Keys); err != nil {
			return err
		}
		if err := stored(ctx, site, system, 1); err != nil {
			return err
		}
		if err := rig.Sleep(ctx, min(settling, b.Sizes.Idle)); err != nil {
			return err
		}
		until, err := disturbance()
		if err != nil {
			return err
		}
		w := &watch{site: site, system: system}
		before, began := w.read(0, 0), time.Now()
		if err := rig.Sleep(ctx, b.Sizes.Idle); err != nil {
			return err
		}
		after, took := w.read(0, 0), time.Since(began)
		percent := func(to, from time.Duration) float64 { return 100 * float64(to-from) / float64(took) }
		run.Values["system_idle_percent"] = percent(after.system, before.system)
		run.Values["postgres_idle_percent"] = percent(after.postgres, before.postgres)
		if run.Others, err = until(); err != nil {
			return err
		}
		if err := errors.Join(system.Alive(ctx), system.End(ctx)); err != nil {
			return err
		}
		tally, err := readBack(ctx, site, load)
		if err == nil {
			run.Fault = tally.fault(0)
		}
		return err
	})
	return []figures.Run{run}, err
}

// stored waits until the topic holds so many records.
func stored(ctx context.Context, site *rig.Site, system sut.System, want int64) error {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	for {
		n, err := site.Stored(ctx)
		if err != nil || n >= want {
			return err
		}
		if err := errors.Join(system.Alive(ctx), rig.Sleep(ctx, sampleEvery)); err != nil {
			return err
		}
	}
}
