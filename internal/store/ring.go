package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outboxrelay/relay/internal/mutant"
)

// Why a slot was not emptied.
const (
	KeptEmpty      = ""                 // nothing is in it
	KeptInUse      = "in_use"           // writers are in it, or will be next
	KeptYoung      = "retention"        // its newest row has to be kept longer
	KeptPending    = "pending"          // rows of it are not settled, by this relay name or another
	KeptDifference = "audit_difference" // its books do not balance
	KeptReplay     = "replay"           // a replay still reads it
	KeptBusy       = "busy"             // somebody holds a lock on it, or another janitor is at work
	lockPatience   = "100ms"            // a page query queues behind a lock that waits
)

// Emptied is what became of one slot.
type Emptied struct {
	Slot       int16
	Rows       int64  // that were discarded
	Kept       string // why it was not emptied; KeptEmpty with no rows: there was nothing to do
	Holds      string // for KeptPending and KeptDifference: the relay name
	Difference *Difference
}

// ringKey is taken by whoever empties a slot or corrects the books, so that they do not do so at once.
const ringKey = `7090212, (%s::regclass::oid::bigint - 2147483648)::integer`

func (a *Auditor) ringLock() string { return fmt.Sprintf(ringKey, quoted(a.names.table("slots"))) }

// quoted makes a string literal of an identifier.
func quoted(text string) string {
	b := []byte{'\''}
	for i := range len(text) {
		if text[i] == '\'' {
			b = append(b, '\'')
		}
		b = append(b, text[i])
	}
	return string(append(b, '\''))
}

// FitRing notes how long this relay name wants events kept, and lets the ring's period follow the longest of all names.
// It returns the period. Writers notice nothing. A role without the right to that leaves the ring as it is: the error
// says what to grant.
func (a *Auditor) FitRing(ctx context.Context, name string, keep time.Duration) (period time.Duration, err error) {
	_, err = a.conn.Exec(ctx, fmt.Sprintf(`update %s set keep = $2 where name = $1 and keep is distinct from $2::interval`,
		a.names.table("relays")), name, keep)
	if err != nil {
		return 0, fmt.Errorf("note retention.keep: %w", err)
	}
	var seconds int32
	if err := a.conn.QueryRow(ctx, fmt.Sprintf(`select %s()`, a.names.table("ring_fit"))).Scan(&seconds); err != nil {
		return 0, fmt.Errorf("fit the ring to retention.keep: %w", grantCure(err))
	}
	return time.Duration(seconds) * time.Second, nil
}

func grantCure(err error) error {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok && server.Code == "42501" {
		return fmt.Errorf("%w; run relay migrate up --grant-relay ROLE once more", err)
	}
	return err
}

// firstLookSQL is cheap, and decides for most slots most of the time. The row with the highest seq is about the newest.
// The arithmetic is ring_slot's: calling that would ring the doorbell. Needs the btree on seq.
const firstLookSQL = `
	select exists (select from %[1]s),
	       $1 in (now_slot, (now_slot + 1) %% 8),
	       coalesce((select created_at > now() - greatest($2::interval, (select max(keep) from %[3]s)) from %[1]s order by seq desc limit 1), false),
	       exists (select from %[4]s where slot = $1 and difference is not null)
	  from (select extract(epoch from now())::bigint / period_seconds %% 8 as now_slot from %[2]s) ring`

// pendingSQL finds a relay name that has rows in the slot which it has not settled.
const pendingSQL = `
	select r.name from %[1]s e, %[2]s r where not ` + coveredBy + ` limit 1`

// Empty truncates one slot, if it may be: writers have left it and will not be there next; its newest row is older than
// keep, and than every other relay name's; every row is settled by every name, or parked; no replay still reads it; and
// the books of every name balance, which is found out with writers locked out, in the transaction that truncates.
//
// Nobody waits for long: the locks are asked for with a patience of 100 ms, and the slot is tried again later.
func (a *Auditor) Empty(ctx context.Context, slot int16, keep time.Duration) (Emptied, error) {
	e := Emptied{Slot: slot}
	var occupied, used, young, differs bool
	err := a.conn.QueryRow(ctx, fmt.Sprintf(firstLookSQL, a.slotTable(slot), a.names.table("ring"), a.names.table("relays"),
		a.names.table("slots")), slot, keep).Scan(&occupied, &used, &young, &differs)
	switch {
	case err != nil:
		return e, fmt.Errorf("look at slot %d: %w", slot, err)
	case !occupied:
		return e, nil
	case used:
		e.Kept = KeptInUse
		return e, nil
	case young:
		e.Kept = KeptYoung
		return e, nil
	case differs && !mutant.On("truncate-without-audit"): // the scheduled audit says when that is over
		e.Kept = KeptDifference
		return e, nil
	}
	err = a.conn.QueryRow(ctx, fmt.Sprintf(pendingSQL, a.slotTable(slot), a.names.table("relays"))).Scan(&e.Holds)
	if err == nil {
		e.Kept = KeptPending
		return e, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return e, fmt.Errorf("look for rows of slot %d that are not settled: %w", slot, err)
	}
	err = pgx.BeginFunc(ctx, a.conn, func(tx pgx.Tx) error { return a.emptyIn(ctx, tx, &e, keep) })
	if server, ok := errors.AsType[*pgconn.PgError](err); ok && (server.Code == "55P03" || server.Code == "40P01") {
		e.Kept, e.Rows = KeptBusy, 0
		return e, nil
	}
	if errors.Is(err, errKept) {
		e.Rows = 0
		return e, nil
	}
	if err != nil {
		return e, fmt.Errorf("empty slot %d: %w", slot, grantCure(err))
	}
	return e, nil
}

// errKept rolls the transaction back: the slot stays.
var errKept = errors.New("the slot is kept")

func (a *Auditor) emptyIn(ctx context.Context, tx pgx.Tx, e *Emptied, keep time.Duration) error {
	kept := func(why string) error {
		e.Kept = why
		return errKept
	}
	var mine bool
	err := tx.QueryRow(ctx, fmt.Sprintf(`select pg_try_advisory_xact_lock(%s)`, a.ringLock())).Scan(&mine)
	if err != nil {
		return err
	}
	if !mine {
		return kept(KeptBusy)
	}
	// SHARE keeps writers out and lets the relay read on. What it waits for has ended by then, so the next statement sees
	// every row that there will be.
	if _, err := tx.Exec(ctx, fmt.Sprintf(`set local lock_timeout = '%s'; lock table %s in share mode`, lockPatience, a.slotTable(e.Slot))); err != nil {
		return err
	}
	var longest time.Duration
	err = tx.QueryRow(ctx, fmt.Sprintf(`select greatest($1::interval, max(keep)) from %s`, a.names.table("relays")), keep).Scan(&longest)
	if err != nil {
		return err
	}
	audits, err := a.readSlot(ctx, tx, e.Slot, nil, fmt.Sprintf("%d microseconds", longest.Microseconds()))
	if err != nil {
		return err
	}
	first, last := int64(0), int64(0)
	for i := range audits {
		s := &audits[i]
		e.Rows, e.Holds, first, last = s.found, s.name, s.first, s.last
		if s.young {
			return kept(KeptYoung)
		}
		if s.uncovered > 0 {
			return kept(KeptPending)
		}
		if mutant.On("truncate-without-audit") {
			continue
		}
		if e.Difference, err = a.difference(ctx, tx, s, e.Slot); err != nil {
			return err
		}
		if e.Difference != nil {
			return kept(KeptDifference)
		}
	}
	if len(audits) == 0 { // nobody has ever led: nothing is settled
		return kept(KeptPending)
	}
	var reads bool
	err = tx.QueryRow(ctx, fmt.Sprintf(`select exists (select from %s where state = 'running' and touched_at > now() - interval '1 day'
		and after_seq < $2 and to_seq >= $1)`, a.names.table("replays")), first, last).Scan(&reads)
	if err != nil {
		return err
	}
	if reads {
		return kept(KeptReplay)
	}
	if _, err := tx.Exec(ctx, `truncate `+a.slotTable(e.Slot)); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, fmt.Sprintf(`update %s set settled_rows = 0, settled_sum = 0, version_rows = 0, version_sum = 0, difference = null
		where slot = $1`, a.names.table("slots")), e.Slot)
	return err
}

// pruneBatch bounds one DELETE of the inbox.
const pruneBatch = 5000

// PruneInbox forgets what consumers have noted longer than keep ago, in batches of 5,000 and at most so many. It returns
// how many rows it deleted.
func (a *Auditor) PruneInbox(ctx context.Context, keep time.Duration, batches int) (pruned int64, err error) {
	for range batches {
		tag, err := a.conn.Exec(ctx, fmt.Sprintf(`delete from %[1]s where (consumer, message_id) in (
			select consumer, message_id from %[1]s where received_at < now() - $1::interval order by received_at limit $2)`,
			a.names.table("inbox")), keep, pruneBatch)
		if err != nil {
			return pruned, fmt.Errorf("prune the inbox: %w", err)
		}
		pruned += tag.RowsAffected()
		if tag.RowsAffected() < pruneBatch {
			break
		}
	}
	return pruned, nil
}

// PruneOperations forgets operations and ended replays that are older than a year, a bounded number of them.
func (a *Auditor) PruneOperations(ctx context.Context) (pruned int64, err error) {
	if err := a.conn.QueryRow(ctx, fmt.Sprintf(`select %s()`, a.names.table("operations_prune"))).Scan(&pruned); err != nil {
		return 0, fmt.Errorf("prune old operations: %w", grantCure(err))
	}
	return pruned, nil
}
