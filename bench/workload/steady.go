package workload

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/bench/figures"
	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
)

const steadyRate = 1000

// deliveryWAL sums the records of transactions that touched what the relay keeps, and not the table of events: the
// settles, their commits and the images of pages that come with them. Names of relations are not in the log, numbers
// are. It also says where the last record ends that it has seen whole.
const deliveryWAL = `
with log as materialized (
	select xid::text as xid, end_lsn, record_length, block_ref from pg_get_wal_records_info('0/0'::pg_lsn + $1::bigint, '0/0'::pg_lsn + $2::bigint)
), own as (
	select 'rel [0-9]+/[0-9]+/(' || string_agg(pg_relation_filenode(c.oid)::text, '|') || ')[; ]' as pattern
	  from pg_class c where c.oid in (
		select t.oid from unnest(array['outbox.relays', 'outbox.slots', 'outbox.parked']::regclass[]) t(oid)
		union all
		select indexrelid from pg_index where indrelid = any (array['outbox.relays', 'outbox.slots', 'outbox.parked']::regclass[]))
)
select coalesce(sum(record_length) filter (where block_ref ~ pattern
           or xid <> '0' and xid in (select xid from log, own where block_ref ~ pattern)), 0)::bigint,
       (max(end_lsn) - '0/0'::pg_lsn)::bigint
  from log, own`

// walPiece is how much of the log one question reads: the server holds what it says of a piece. Of a transaction that
// lies in two pieces a part may be missed, some hundred bytes of a piece.
const walPiece = 256 << 20

// steady takes what delivery writes to the log while a trickle is delivered as it comes, by what pg_walinspect says of
// each record: what the writers write is not in it. It needs PostgreSQL 15 and its contrib modules.
func steady(ctx context.Context, b *Bench, kind sut.Kind) (_ []figures.Run, err error) {
	events := steadyRate * int(b.Sizes.Steady/time.Second)
	load := sut.Load{Events: events, Keys: mostKeys, Bytes: 300}
	run := figures.Run{Events: events, Values: map[string]float64{}}
	err = b.on(ctx, kind, load, func(site *rig.Site, system sut.System) error {
		release, err := keepLog(ctx, site, load)
		if err != nil {
			return err
		}
		defer release()
		if err := system.Begin(ctx); err != nil {
			return err
		}
		clock := clock{began: time.Now()}
		p := &pace{site: site, insert: system.Insert(), perSecond: steadyRate, first: 1, clock: clock,
			committed: make([]atomic.Int64, events+1), behind: make([]atomic.Int64, events+1)}
		p.count(events)
		a, err := consume(ctx, site, clock, events+1)
		if err != nil {
			return err
		}
		defer a.close()
		until, err := disturbance()
		if err != nil {
			return err
		}
		from, err := site.WAL(ctx)
		if err != nil {
			return err
		}
		if err := errors.Join(p.run(ctx, nil), a.all(ctx, events), system.End(ctx)); err != nil {
			return err
		}
		if run.Others, err = until(); err != nil {
			return err
		}
		if err := walOfDelivery(ctx, site, from, run); err != nil {
			return err
		}
		if err := deadTuples(ctx, site, system, run.Values); err != nil {
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

func walOfDelivery(ctx context.Context, site *rig.Site, from int64, run figures.Run) error {
	// What is not on disk cannot be read: a checkpoint writes it.
	if _, err := site.DB.Exec(ctx, "checkpoint"); err != nil {
		return err
	}
	to, err := site.Ask(ctx, "select (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint")
	if err != nil {
		return err
	}
	sum := int64(0)
	for at := from; at < to; {
		var bytes int64
		var end *int64
		if err := site.DB.QueryRow(ctx, deliveryWAL, at, min(at+walPiece, to)).Scan(&bytes, &end); err != nil {
			return fmt.Errorf("read the write-ahead log: %w", err)
		}
		sum += bytes
		if end == nil || at+walPiece >= to {
			break
		}
		at = *end
	}
	run.Values["wal_bytes"] = float64(sum) / float64(run.Events)
	return nil
}
