package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Rebased says what Rebase did.
type Rebased struct {
	Needed bool `json:"needed"` // false: cursor and events belong to this cluster, and nothing was done
	// Upgraded: pg_upgrade made this cluster. The cursors stay where they are, and only belong to it from now on.
	Upgraded bool `json:"upgraded"`
	// Pending are the events that will be delivered: those that no cursor covers, and those that were written here since.
	Pending int64 `json:"pending"`
	// Kept are delivered events whose transaction ids mean nothing here; they stay readable.
	Kept  int64    `json:"kept"`
	Names []string `json:"names"` // the relay names whose cursor was set
}

// versionHere is e.xmin as a whole transaction id: xmin lacks the epoch, but no row is two billion transactions old.
const versionHere = `($1::bigint - (($1::bigint - e.xmin::text::bigint) & 4294967295))`

// pendingHere is the condition that event e has to be delivered. It errs towards a copy, never towards a loss.
//
// Not covered by the cursor of each name that has one; or written here since the restore, when the old cursor says
// nothing about it. Such a row's version is its own transaction, or a savepoint of that, both later than the restore,
// whose transaction $2 wrote the first row of relay_migrations.
const pendingHere = `(
	(not exists (select from %[1]s r) or exists (select from %[1]s r where not ` + coveredBy + `))
	or ` + versionHere + ` = e.xid::text::bigint
	or ` + versionHere + ` > e.xid::text::bigint and e.xid::text::bigint > $2::bigint)`

// Rebase makes an outbox that was dumped and restored into another cluster deliver what is pending. In one transaction,
// with writers locked out: pending events get this transaction's id, in the order of seq; delivered ones whose id lies
// in this cluster's future get the oldest id there is; the sequence is brought behind all of them; each cursor stands
// before the pending and behind the delivered; the books are made anew. Its role must own the tables. An event that is
// pending for one relay name is delivered again for the others.
//
// After pg_upgrade, when the books prove that the rows are where they were written, only the cursors' owner changes.
// force renumbers in any case.
func Rebase(ctx context.Context, c *pgx.Conn, names Names, force bool) (r Rebased, err error) {
	err = pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		b := &rebase{tx: tx, names: names}
		needed, err := b.needed(ctx)
		if err != nil || !needed && !force {
			return err
		}
		r.Needed = true
		return b.run(ctx, &r, !force)
	})
	if err != nil {
		return r, fmt.Errorf("rebase: %w", err)
	}
	return r, nil
}

type rebase struct {
	tx    pgx.Tx
	names Names
}

// needed says whether a cursor is of another cluster, or an event's id is one that this cluster has not handed out.
func (b *rebase) needed(ctx context.Context) (needed bool, err error) {
	err = b.tx.QueryRow(ctx, fmt.Sprintf(`
		select exists (select from %s where system_identifier <> (select system_identifier::text from pg_control_system()))
		    or exists (select from %s where xid >= pg_snapshot_xmax(pg_current_snapshot()) and xid <> coalesce(pg_current_xact_id_if_assigned(), '0'))`,
		b.names.table("relays"), b.names.table("events"))).Scan(&needed)
	return needed, err
}

func (b *rebase) run(ctx context.Context, r *Rebased, ask bool) (err error) {
	// What writers have begun ends first; what they begin later waits. No row of theirs is between the two.
	_, err = b.tx.Exec(ctx, fmt.Sprintf(`lock table %s in exclusive mode; lock table %s in exclusive mode`,
		b.names.table("events"), b.names.table("relays")))
	if err != nil {
		return err
	}
	if ask {
		if r.Upgraded, err = b.upgraded(ctx); err != nil {
			return err
		}
	}
	if !r.Upgraded {
		if err := b.renumber(ctx, r); err != nil {
			return err
		}
	}
	if r.Names, err = b.own(ctx); err != nil {
		return err
	}
	if !r.Upgraded {
		if err := b.books(ctx); err != nil {
			return err
		}
	}
	_, err = b.tx.Exec(ctx, fmt.Sprintf(`insert into %s (verb, events, detail)
		values ('rebase', $1::bigint, jsonb_build_object('kept', $2::bigint, 'upgraded', $3::boolean))`,
		b.names.table("operations")), r.Pending, r.Kept, r.Upgraded)
	return err
}

// renumber gives what is pending ids of this cluster, and sets the cursors before it.
func (b *rebase) renumber(ctx context.Context, r *Rebased) error {
	var own uint64
	var text string
	err := b.tx.QueryRow(ctx, `select pg_current_xact_id()::text::bigint, pg_current_snapshot()::text`).Scan(&own, &text)
	if err != nil {
		return err
	}
	if err := b.events(ctx, r, own); err != nil {
		return err
	}
	if err := b.sequence(ctx); err != nil {
		return err
	}
	seen, err := ParseSnapshot(text)
	if err != nil {
		return err
	}
	_, err = b.tx.Exec(ctx, fmt.Sprintf(`update %s set window_from = $1::text::pg_snapshot, window_to = null, after_seq = 0, floor_seq = 0,
		anchor_xid = '0', anchor_seq = 0`, b.names.table("relays")), seen.without(own).String())
	return err
}

// own makes the cursors this cluster's and voids all leases. Batch 0 of a cursor that came from elsewhere: a relay that
// has used no transactional id here asks whose it is before it fences. The relay of the cluster that was dumped may be
// at work under it.
func (b *rebase) own(ctx context.Context) ([]string, error) {
	rows, _ := b.tx.Query(ctx, fmt.Sprintf(`update %s set
		batch = case when system_identifier = (select system_identifier::text from pg_control_system()) then batch else 0 end,
		parked_batch = case when system_identifier = (select system_identifier::text from pg_control_system()) then parked_batch else 0 end,
		system_identifier = null, timeline = null, candidate = null, parked_candidate = null,
		epoch = epoch + 1, session = session + 1, holder = null, expires_at = '-infinity' returning name`, b.names.table("relays")))
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (b *rebase) events(ctx context.Context, r *Rebased, own uint64) error {
	var restored int64
	err := b.tx.QueryRow(ctx, fmt.Sprintf(`select coalesce(min(`+versionHere+`), 0) from %s e`, b.names.table("relay_migrations")), int64(own)).
		Scan(&restored)
	if err != nil {
		return err
	}
	pending := fmt.Sprintf(pendingHere, b.names.table("relays"))
	tag, err := b.tx.Exec(ctx, fmt.Sprintf(`update %s e set xid = pg_current_xact_id() where `, b.names.table("events"))+pending, int64(own), restored)
	if err != nil {
		return err
	}
	r.Pending = tag.RowsAffected()
	tag, err = b.tx.Exec(ctx, fmt.Sprintf(`update %s set xid = '3' where xid <> pg_current_xact_id() and xid >= pg_snapshot_xmin(pg_current_snapshot())`,
		b.names.table("events")))
	r.Kept = tag.RowsAffected()
	return err
}

// sequence brings events_seq, where it was left behind, to the highest number in the table: new events come after those
// that are there.
func (b *rebase) sequence(ctx context.Context) error {
	s := newSequence(b.names)
	if err := s.countTable(ctx, b.tx.Conn()); err != nil {
		return err
	}
	_, err := b.tx.Exec(ctx, `select setval($1::text::regclass, $2) where $2 > coalesce(pg_sequence_last_value($1::text::regclass), 0)`,
		b.names.table("events_seq"), s.high)
	return err
}

// books makes them agree with what the new cursors cover: what was discarded before cannot be known here.
func (b *rebase) books(ctx context.Context) error {
	_, err := b.tx.Exec(ctx, fmt.Sprintf(`delete from %s`, b.names.table("slots")))
	if err != nil {
		return err
	}
	_, err = b.tx.Exec(ctx, fmt.Sprintf(`insert into %[1]s (name, slot, settled_rows, settled_sum, last_seq, version_rows, version_sum)
		select r.name, e.slot, count(*), sum(e.seq), max(e.seq), count(*), sum(e.xmin::text::bigint)
		  from %[2]s r join %[3]s e on `+coveredBy+` group by r.name, e.slot`,
		b.names.table("slots"), b.names.table("relays"), b.names.table("events")))
	return err
}

// without is the snapshot that does not show transaction xid.
func (s Snapshot) without(xid uint64) Snapshot {
	out := Snapshot{Xmin: min(s.Xmin, xid), Xmax: s.Xmax, InProgress: slices.Clone(s.InProgress)}
	if xid >= s.Xmax {
		return out
	}
	if at, there := slices.BinarySearch(out.InProgress, xid); !there {
		out.InProgress = slices.Insert(out.InProgress, at, xid)
	}
	return out
}
