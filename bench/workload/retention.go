package workload

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/outboxrelay/relay/bench/figures"
	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
)

const (
	// onTheWay is how many events may be written and not yet in Kafka: writers keep the relay's pace.
	onTheWay = 20_000
	// shrinking is how long, beside two periods, the ring may take to be empty after the last event.
	shrinking = 20 * time.Second

	levelSQL = `select coalesce(sum(pg_total_relation_size(relid)), 0)::bigint,
		coalesce(sum(pg_stat_get_dead_tuples(relid)), 0)::bigint from pg_partition_tree($1::regclass)`
)

// retention delivers many events, which need not be kept, through a ring that comes round quickly. It takes how large
// the table of events becomes against what retention promises, the dead tuples in it, and what delivering and emptying
// write to the log.
func retention(ctx context.Context, b *Bench, kind sut.Kind) (_ []figures.Run, err error) {
	load := sut.Load{Events: b.Sizes.Retention, Keys: mostKeys, Bytes: 300}
	run := figures.Run{Events: load.Events, Values: map[string]float64{}}
	err = b.on(ctx, kind, load, func(site *rig.Site, system sut.System) error {
		relay, ok := system.(*sut.Relay)
		if !ok {
			return fmt.Errorf("%s has no ring", kind.Name)
		}
		relay.With("RELAY_RETENTION_KEEP=0s", "RELAY_RETENTION_SCHEDULE=@every 1s")
		release, err := keepLog(ctx, site, load)
		if err != nil {
			return err
		}
		defer release()
		t := &tide{site: site, system: system, load: load, period: b.Sizes.Period}
		until, err := disturbance()
		if err != nil {
			return err
		}
		from, err := site.WAL(ctx)
		if err != nil {
			return err
		}
		if err := t.run(ctx, relay); err != nil {
			return err
		}
		if run.Others, err = until(); err != nil {
			return err
		}
		if err := t.values(run.Values, strings.Count(relay.Program().Output(), `"slot emptied"`)); err != nil {
			return err
		}
		if err := walOfDelivery(ctx, site, from, run); err != nil {
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

// keepLog has PostgreSQL keep the log of a run until it has been read.
func keepLog(ctx context.Context, site *rig.Site, load sut.Load) (release func(), err error) {
	set := func(ctx context.Context, what string) error {
		for _, sql := range []string{"alter system " + what, "select pg_reload_conf()"} {
			if _, err := site.DB.Exec(ctx, sql); err != nil {
				return fmt.Errorf("keep the write-ahead log: %w", err)
			}
		}
		return nil
	}
	if _, err := site.DB.Exec(ctx, "create extension pg_walinspect"); err != nil {
		return nil, fmt.Errorf("read the write-ahead log (PostgreSQL 15 or newer with its contrib modules can): %w", err)
	}
	// An event and its entry in the index are under a kilobyte there; pages that are whole after a checkpoint, as much.
	megabytes := 1024 + load.Events/500
	if err := set(ctx, fmt.Sprintf("set wal_keep_size = '%dMB'", megabytes)); err != nil {
		return nil, err
	}
	return func() {
		if err := set(context.WithoutCancel(ctx), "reset wal_keep_size"); err != nil {
			site.Logf("%v", err)
		}
	}, nil
}

// tide is a load that flows through the ring.
type tide struct {
	site   *rig.Site
	system sut.System
	load   sut.Load
	period time.Duration // of the ring

	committed, stored atomic.Int64 // events
	bytes             atomic.Int64 // of the table, written by watch
	began, flowed     time.Time    // of the load
	levels            []level      // written by watch, read when it has ended
	peak              float64      // MiB of the relay
}

// level is how full the table of events was at a time.
type level struct {
	at               time.Time
	committed, bytes int64
	dead             int64
}

func (t *tide) run(ctx context.Context, relay *sut.Relay) error {
	if err := t.shorten(ctx); err != nil {
		return err
	}
	if err := errors.Join(t.system.Begin(ctx), relay.Leads(ctx)); err != nil {
		return err
	}
	if err := t.fits(ctx); err != nil {
		return err
	}
	var empty level
	if err := t.site.DB.QueryRow(ctx, levelSQL, t.system.Table()).Scan(&empty.bytes, &empty.dead); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	done := make(chan struct{})
	group.Go(func() error { return t.watch(groupCtx, done) })
	group.Go(func() error {
		defer close(done)
		t.began = time.Now()
		if err := t.flow(groupCtx); err != nil {
			return err
		}
		t.flowed = time.Now()
		// All of it is old at once: two periods after the last event nothing should be left.
		for end := t.flowed.Add(2*t.period + shrinking); t.bytes.Load() > empty.bytes && time.Now().Before(end); {
			if err := rig.Sleep(groupCtx, sampleEvery); err != nil {
				return err
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	for _, pid := range t.system.PIDs() {
		t.peak += rig.PeakMiB(pid)
	}
	return t.system.End(ctx)
}

// shorten lets the ring have a period below a minute, the shortest that the relay makes: eight minutes a turn are too
// long to watch.
func (t *tide) shorten(ctx context.Context) error {
	const was = "greatest(60,"
	var function string
	if err := t.site.DB.QueryRow(ctx, "select pg_get_functiondef('outbox.ring_fit()'::regprocedure)").Scan(&function); err != nil {
		return fmt.Errorf("shorten the ring: %w", err)
	}
	if !strings.Contains(function, was) {
		return fmt.Errorf("shorten the ring: outbox.ring_fit has no %s any more", was)
	}
	_, err := t.site.DB.Exec(ctx, strings.Replace(function, was, fmt.Sprintf("greatest(%d,", int(t.period.Seconds())), 1))
	if err != nil {
		return fmt.Errorf("shorten the ring: %w", err)
	}
	return nil
}

// fits waits until the relay has given the ring its period.
func (t *tide) fits(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		seconds, err := t.site.Ask(ctx, "select period_seconds from outbox.ring")
		if err != nil || seconds == int64(t.period.Seconds()) {
			return err
		}
		if err := errors.Join(t.system.Alive(ctx), rig.Sleep(ctx, sampleEvery)); err != nil {
			return fmt.Errorf("the ring's period stays %d s: %w", seconds, err)
		}
	}
}

// flow writes the load in transactions of 100 rows, as fast as it is delivered, and returns when all is in Kafka.
func (t *tide) flow(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for first := 1; first <= loaders; first++ {
		group.Go(func() error {
			return fill(ctx, t.site, t.system, t.load, first, loaders, 100, func(rows int) error {
				t.committed.Add(int64(rows))
				for t.committed.Load()-t.stored.Load() > onTheWay {
					if err := rig.Sleep(ctx, time.Millisecond); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	group.Go(func() error {
		for t.stored.Load() < int64(t.load.Events) {
			n, err := t.site.Stored(ctx)
			if err != nil {
				return err
			}
			t.stored.Store(n)
			if err := errors.Join(t.system.Alive(ctx), rig.Sleep(ctx, sampleEvery)); err != nil {
				return fmt.Errorf("%d of %d events are in Kafka: %w", n, t.load.Events, err)
			}
		}
		return nil
	})
	return group.Wait()
}

// watch samples the table until done.
func (t *tide) watch(ctx context.Context, done <-chan struct{}) error {
	db, err := pgx.Connect(ctx, t.site.URL)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	for {
		var l level
		if err := db.QueryRow(ctx, levelSQL, t.system.Table()).Scan(&l.bytes, &l.dead); err != nil {
			return fmt.Errorf("look how large the table is: %w", err)
		}
		l.at, l.committed = time.Now(), t.committed.Load()
		t.bytes.Store(l.bytes)
		t.levels = append(t.levels, l)
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(sampleEvery):
		}
	}
}

// values are what the levels say. Retention promises that an event is discarded two periods after retention.keep at the
// latest; with a keep of zero the table holds no more than what was committed in two periods.
func (t *tide) values(into map[string]float64, emptied int) error {
	if emptied == 0 {
		return errors.New("no slot of the ring was emptied: the run says nothing about retention")
	}
	const mib = 1 << 20
	var largest, dead, most int64
	each, falls, from := 0.0, false, 0
	for i, l := range t.levels {
		for l.at.Sub(t.levels[from].at) > 2*t.period {
			from++
		}
		largest, dead = max(largest, l.bytes), max(dead, l.dead)
		most = max(most, l.committed-t.levels[from].committed)
		// Until the first slot is emptied the table holds all that was written.
		if falls = falls || i > 0 && l.bytes < t.levels[i-1].bytes; !falls && l.committed > 0 {
			each = float64(l.bytes) / float64(l.committed)
		}
	}
	into["events_per_second"] = float64(t.load.Events) / t.flowed.Sub(t.began).Seconds()
	into["peak_mib"] = t.peak
	into["dead_tuples"] = float64(dead)
	into["slots_emptied"] = float64(emptied)
	into["table_most_mib"] = float64(largest) / mib
	into["table_promised_mib"] = float64(most) * each / mib
	into["table_all_mib"] = float64(t.load.Events) * each / mib
	into["table_left_mib"] = float64(t.levels[len(t.levels)-1].bytes) / mib
	return nil
}
