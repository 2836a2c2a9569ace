package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/store"
)

// readStatus is where every status comes from. While a leader is alive it watches the rate for sample; without a leader,
// or with a sample of 0, the rate is 0 and it takes no time to speak of.
func readStatus(ctx context.Context, conn *pgx.Conn, schema, name string, sample time.Duration) (statusReport, error) {
	report := statusReport{Schema: schema, Name: name}
	if _, err := conn.Exec(ctx, "set search_path to "+pgx.Identifier{schema}.Sanitize()); err != nil {
		return report, err
	}
	// Compiling these queries would take longer than running them.
	if _, err := conn.Exec(ctx, "set jit = off"); err != nil {
		return report, err
	}
	for _, read := range []func(context.Context, *pgx.Conn, *statusReport) error{
		readRelay, readLag, readParked, readRing, readRingOldest,
		func(ctx context.Context, conn *pgx.Conn, r *statusReport) error {
			return readRate(ctx, conn, r, sample)
		},
	} {
		if err := read(ctx, conn, &report); err != nil {
			return report, fmt.Errorf("read the status: %w", err)
		}
	}
	return report, nil
}

func readRelay(ctx context.Context, conn *pgx.Conn, report *statusReport) error {
	const query = `
select clock_timestamp(), r.epoch, r.holder, nullif(r.expires_at, '-infinity'), r.expires_at > clock_timestamp(),
       coalesce(extract(epoch from nullif(r.expires_at, '-infinity') - clock_timestamp()), 0)::double precision,
       r.delivered, r.settled_at, r.last_error, r.last_error_at
  from relays r where r.name = $1`
	var holder, message *string
	var expires, messageAt *time.Time
	var alive bool
	var remaining float64
	err := conn.QueryRow(ctx, query, report.Name).Scan(&report.Time, &report.Epoch, &holder, &expires, &alive,
		&remaining, &report.Delivered, &report.SettledAt, &message, &messageAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return conn.QueryRow(ctx, "select clock_timestamp()").Scan(&report.Time)
	}
	if err != nil {
		return err
	}
	report.Known = true
	if holder != nil && expires != nil && alive {
		report.Leader = &leaderReport{Holder: *holder, ExpiresAt: *expires, RemainingSeconds: remaining}
	}
	if message != nil {
		report.LastError = &lastError{Message: *message, At: messageAt}
	}
	return nil
}

// countMost is how many pending events are counted one by one: a backlog of millions must not make every look at the
// status a scan of all of it.
const countMost = 250_000

// readLag counts what is not settled, as the view lag does. Where there is more than countMost, the rest is told by the
// sequence, which also counts rows that were rolled back; the oldest is then the oldest of those that were counted, the
// first in the order of delivery. A name that has never run has everything before it.
//
// The cursor is asked for first, in the same snapshot: joined to it the events could not come in the order of their
// index, and all that are pending would be sorted to count the first of them. The planner guesses that there are few.
func readLag(ctx context.Context, conn *pgx.Conn, report *statusReport) error {
	const cursor = `select floor_seq, window_from::text, window_to::text, after_seq from relays where name = $1`
	const query = `
select count(*), coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::double precision,
       coalesce(max(seq), 0), (select last_value from events_seq)
  from (select seq, created_at from events
         where seq > $1
           and pg_visible_in_snapshot(xid, $2::text::pg_snapshot) is not true
           and (seq <= $4 and pg_visible_in_snapshot(xid, $3::text::pg_snapshot)) is not true
         order by seq limit $5) counted`
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "set local enable_seqscan = off; set local enable_bitmapscan = off; set local enable_sort = off")
		if err != nil {
			return err
		}
		var floor, after, counted, newest, end int64
		var from, to *string
		err = tx.QueryRow(ctx, cursor, report.Name).Scan(&floor, &from, &to, &after)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		err = tx.QueryRow(ctx, query, floor, from, to, after, countMost+1).Scan(&counted, &report.Lag, &newest, &end)
		if err != nil {
			return err
		}
		report.Pending = counted
		if counted > countMost {
			report.Pending, report.PendingAbout = counted+max(end-newest, 0), true
		}
		return nil
	})
}

// readRingOldest looks at the event with the lowest number, which is the oldest but for the length of transactions.
func readRingOldest(ctx context.Context, conn *pgx.Conn, report *statusReport) error {
	const query = `
select coalesce((select extract(epoch from clock_timestamp() - created_at) from events order by seq limit 1), 0)::double precision`
	return conn.QueryRow(ctx, query).Scan(&report.RingOldest)
}

func readParked(ctx context.Context, conn *pgx.Conn, report *statusReport) error {
	report.Parked = map[string]int64{"scheduled": 0, "held": 0, "behind": 0, "dead": 0, "replay": 0}
	rows, err := conn.Query(ctx, "select state, count(*) from parked where name = $1 group by state", report.Name)
	if err != nil {
		return err
	}
	var state string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&state, &n}, func() error {
		report.Parked[state] = n
		return nil
	})
	return err
}

// readRing repeats the arithmetic of ring_slot in the migrations for the current slot: calling the function would
// ring the doorbell.
func readRing(ctx context.Context, conn *pgx.Conn, report *statusReport) error {
	const query = `
select ring.slot, extract(epoch from now())::bigint / (select period_seconds from ring) % $2 = ring.slot,
       greatest(c.reltuples::bigint, coalesce(s.n_live_tup, 0), 0), pg_total_relation_size(c.oid),
       coalesce(b.settled_rows, 0), coalesce(b.last_seq, 0), b.audited_at, b.difference
  from generate_series(0, $2::int - 1) ring(slot)
  join pg_class c on c.oid = to_regclass('events_' || ring.slot)
  left join pg_stat_all_tables s on s.relid = c.oid
  left join slots b on b.name = $1 and b.slot = ring.slot
 order by ring.slot`
	rows, err := conn.Query(ctx, query, report.Name, store.RingSlots)
	if err != nil {
		return err
	}
	var slot slotReport
	_, err = pgx.ForEachRow(rows, []any{
		&slot.Slot, &slot.Current, &slot.RowsAbout, &slot.Bytes, &slot.SettledRows, &slot.LastSeq,
		&slot.AuditedAt, &slot.Difference,
	}, func() error {
		report.Ring = append(report.Ring, slot)
		slot.Difference, slot.AuditedAt = nil, nil // the next row's are new ones
		return nil
	})
	return err
}

// readRate watches the counter. Without a leader nothing is delivered, and there is nothing to watch.
func readRate(ctx context.Context, conn *pgx.Conn, report *statusReport, sample time.Duration) error {
	if report.Leader == nil || sample == 0 {
		return nil
	}
	const query = `select delivered, clock_timestamp() from relays where name = $1`
	var before, after int64
	var from, to time.Time
	if err := conn.QueryRow(ctx, query, report.Name).Scan(&before, &from); err != nil {
		return err
	}
	if pause(ctx, sample); ctx.Err() != nil {
		return ctx.Err()
	}
	if err := conn.QueryRow(ctx, query, report.Name).Scan(&after, &to); err != nil {
		return err
	}
	report.Rate = float64(after-before) / to.Sub(from).Seconds()
	return nil
}

// pause sleeps until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
