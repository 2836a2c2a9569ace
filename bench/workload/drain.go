package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/outboxrelay/relay/bench/figures"
	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
)

const (
	sampleEvery = 20 * time.Millisecond
	// quiet is how long nothing comes after the last record: what comes then is a copy. Markers of transactions are
	// offsets, too, so in exactly once there are enough of them before the last event, and it is longer.
	quiet        = 500 * time.Millisecond
	quietExactly = 2 * time.Second
	drainLimit   = 10 * time.Minute
	mostKeys     = 10_000
)

func drain(ctx context.Context, b *Bench, kind sut.Kind) ([]figures.Run, error) {
	return b.drain(ctx, kind, sut.Load{Events: b.Sizes.Drain, Keys: mostKeys, Bytes: 300}, 100)
}

func oneTransaction(ctx context.Context, b *Bench, kind sut.Kind) ([]figures.Run, error) {
	n := b.Sizes.OneTransaction
	return b.drain(ctx, kind, sut.Load{Events: n, Keys: mostKeys, Bytes: 300}, n)
}

func hotKey(ctx context.Context, b *Bench, kind sut.Kind) ([]figures.Run, error) {
	return b.drain(ctx, kind, sut.Load{Events: b.Sizes.HotKey, Keys: 1, Bytes: 300}, 100)
}

// large stays under the million bytes and some that Kafka takes by default.
func large(ctx context.Context, b *Bench, kind sut.Kind) ([]figures.Run, error) {
	return b.drain(ctx, kind, sut.Load{Events: b.Sizes.Large, Keys: mostKeys, Bytes: 1_000_000}, 10)
}

// drain writes a backlog, has it delivered, and reads it back.
func (b *Bench) drain(ctx context.Context, kind sut.Kind, load sut.Load, each int) (_ []figures.Run, err error) {
	run := figures.Run{Events: load.Events, Values: map[string]float64{}}
	err = b.on(ctx, kind, load, func(site *rig.Site, system sut.System) error {
		if !kind.Memory {
			if err := backlog(ctx, site, system, load, each); err != nil {
				return err
			}
		}
		until, err := disturbance()
		if err != nil {
			return err
		}
		w := &watch{site: site, system: system, want: int64(load.Events), skip: int64(load.Ahead), quiet: quiet}
		if kind.Exactly {
			w.quiet = quietExactly
		}
		if err := w.run(ctx); err != nil {
			return err
		}
		if run.Others, err = until(); err != nil {
			return err
		}
		run.Samples = w.thinned()
		w.values(run.Values, load)
		if !kind.Memory {
			if err := deadTuples(ctx, site, system, run.Values); err != nil {
				return err
			}
		}
		tally, err := readBack(ctx, site, load)
		if err != nil {
			return err
		}
		run.Fault = tally.fault(0)
		return nil
	})
	return []figures.Run{run}, err
}

// watch follows a drain by the offsets of the topic, and reads what it costs.
type watch struct {
	site   *rig.Site
	system sut.System
	want   int64
	skip   int64 // so many are stored before the first reading
	quiet  time.Duration

	samples     []figures.Sample
	first, last reading
	peak        float64
	wal         int64
}

// reading is what had been used when so much was stored.
type reading struct {
	at                       time.Duration
	stored                   int64
	system, postgres, broker time.Duration
}

func (w *watch) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	walBefore, err := w.site.WAL(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := w.system.Begin(ctx); err != nil {
		return err
	}
	if err := w.follow(ctx, began); err != nil {
		return err
	}
	// The last settle belongs to the drain: it is made by a stop in good order at the latest.
	for _, pid := range w.system.PIDs() {
		w.peak += rig.PeakMiB(pid)
	}
	if err := w.system.Alive(ctx); err != nil {
		return err
	}
	if err := w.system.End(ctx); err != nil {
		return err
	}
	walAfter, err := w.site.WAL(ctx)
	w.wal = walAfter - walBefore
	return err
}

// follow samples until all is stored and nothing has come for a while.
func (w *watch) follow(ctx context.Context, began time.Time) error {
	for {
		n, err := w.site.Stored(ctx)
		if err != nil {
			return err
		}
		at := time.Since(began)
		w.samples = append(w.samples, figures.Sample{Seconds: at.Seconds(), Stored: n})
		switch {
		case n > w.skip && w.first.stored == 0:
			w.first = w.read(at, n)
		case n >= w.want && n > w.last.stored:
			w.last = w.read(at, n)
		case n >= w.want && at > w.last.at+w.quiet:
			return nil
		}
		if len(w.samples)%50 == 0 {
			if err := w.system.Alive(ctx); err != nil {
				return err
			}
		}
		if err := rig.Sleep(ctx, sampleEvery); err != nil {
			return errors.Join(fmt.Errorf("%d of %d events are in Kafka: %w", n, w.want, err), w.system.Alive(ctx))
		}
	}
}

func (w *watch) read(at time.Duration, stored int64) reading {
	r := reading{at: at, stored: stored, postgres: rig.CPUWithChildren(w.site.Postgres.PID()), broker: rig.CPU(w.site.Kafka.PID(0))}
	for _, pid := range w.system.PIDs() {
		r.system += rig.CPU(pid)
	}
	return r
}

// values between the first and the last reading. A load so small that there is but one reading has no rate.
func (w *watch) values(into map[string]float64, load sut.Load) {
	into["peak_mib"] = w.peak
	if w.system.Table() != "" {
		into["wal_bytes"] = float64(w.wal) / float64(w.want)
	}
	// Markers of transactions are offsets, too: events are counted by what was asked for.
	events := float64(w.want - w.first.stored)
	took := (w.last.at - w.first.at).Seconds()
	if events <= 0 || took <= 0 {
		return
	}
	micros := func(to, from time.Duration) float64 { return float64((to - from).Microseconds()) / events }
	into["events_per_second"] = events / took
	if load.Bytes > 100_000 {
		into["megabytes_per_second"] = events / took * float64(load.Bytes) / 1e6
	}
	into["system_cpu_us"] = micros(w.last.system, w.first.system)
	into["postgres_cpu_us"] = micros(w.last.postgres, w.first.postgres)
	into["broker_cpu_us"] = micros(w.last.broker, w.first.broker)
}

// thinned keeps a sample each tenth of a second: enough to draw.
func (w *watch) thinned() (kept []figures.Sample) {
	for i, s := range w.samples {
		if len(kept) == 0 || s.Seconds-kept[len(kept)-1].Seconds >= 0.1 || i == len(w.samples)-1 {
			kept = append(kept, s)
		}
	}
	return kept
}

// deadTuples counts those that a run has left in its table, its partitions included.
func deadTuples(ctx context.Context, site *rig.Site, system sut.System, into map[string]float64) error {
	n, err := site.Ask(ctx, `select coalesce(sum(pg_stat_get_dead_tuples(t.relid)), 0)::bigint
		from (select relid from pg_partition_tree($1::regclass) union select $1::regclass) t`, system.Table())
	into["dead_tuples"] = float64(n)
	return err
}
