package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Repaired is what was done about one difference.
type Repaired struct {
	Difference
	// Replay is the number of the replay that publishes the rows again, 0 when there are none to publish.
	Replay int64 `json:"replay"`
	Again  int64 `json:"again"` // how many events that are
	// Gone are rows that cannot be published again, because they are no longer there.
	Gone int64 `json:"gone"`
}

// Repair audits a slot once more and, in one transaction, makes its books agree with the table, asks for its rows to be
// published again unless booksOnly, and writes that into operations, with the note. The rows are those that the
// difference names, or all of the slot when it names none. nil: the books balance.
//
// The books are corrected by what they differ by, not set: a settle that runs at the same time adds to both sides.
func (a *Auditor) Repair(ctx context.Context, name string, slot int16, booksOnly bool, note map[string]string) (r *Repaired, err error) {
	err = pgx.BeginFunc(ctx, a.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf(`select pg_advisory_xact_lock(%s)`, a.ringLock())); err != nil {
			return err
		}
		audits, err := a.readSlot(ctx, tx, slot, &name, "0")
		if err != nil || len(audits) == 0 {
			return err
		}
		d, err := a.difference(ctx, tx, &audits[0], slot)
		if err != nil || d == nil {
			return err
		}
		r = &Repaired{Difference: *d, Gone: d.Missing}
		if err := a.correct(ctx, tx, d); err != nil {
			return err
		}
		if !booksOnly && (d.Exact == nil || d.Missing == 0) {
			if err := a.again(ctx, tx, r, audits[0].found); err != nil {
				return err
			}
		}
		return a.noteRepair(ctx, tx, r, note)
	})
	if err != nil {
		return nil, fmt.Errorf("repair slot %d: %w", slot, grantCure(err))
	}
	return r, nil
}

func (a *Auditor) correct(ctx context.Context, tx pgx.Tx, d *Difference) error {
	_, err := tx.Exec(ctx, fmt.Sprintf(`insert into %s as s (name, slot, settled_rows, settled_sum, version_rows, version_sum, audited_at)
		values ($1, $2, $3::text::bigint, $4::text::numeric, $5::text::bigint, $6::text::numeric, now())
		on conflict (name, slot) do update set settled_rows = s.settled_rows + excluded.settled_rows,
		       settled_sum = s.settled_sum + excluded.settled_sum, version_rows = s.version_rows + excluded.version_rows,
		       version_sum = s.version_sum + excluded.version_sum, audited_at = now(), difference = null`, a.names.table("slots")),
		d.Name, d.Slot, d.delta.rows, d.delta.sum, d.delta.versionRows, d.delta.versions)
	return err
}

func (a *Auditor) again(ctx context.Context, tx pgx.Tx, r *Repaired, found int64) error {
	events := int64(len(r.Exact))
	if r.Exact == nil {
		events = found
	}
	if events == 0 {
		return nil
	}
	r.Again = events
	return tx.QueryRow(ctx, fmt.Sprintf(`insert into %s (name, slot, seqs, window_from, window_to, cursor_seq, to_seq, events)
		select name, $2, $3, window_from, window_to, after_seq, $4, $5 from %s where name = $1 returning replay_no`,
		a.names.table("replays"), a.names.table("relays")), r.Name, r.Slot, r.Exact, r.ToSeq, events).Scan(&r.Replay)
}

func (a *Auditor) noteRepair(ctx context.Context, tx pgx.Tx, r *Repaired, note map[string]string) error {
	detail := map[string]any{"difference": r.Difference, "again": r.Again, "gone": r.Gone, "replay": r.Replay}
	for k, v := range note {
		detail[k] = v
	}
	text, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	if err := LockOperations(ctx, tx, a.names.table("operations")); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, fmt.Sprintf(`insert into %s (verb, events, detail) values ('repair', $1, $2::jsonb)`, a.names.table("operations")),
		r.Events, string(text))
	return err
}
