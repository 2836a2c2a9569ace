package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// verbBatch is how many events a verb changes in one transaction: the relay waits for rows that it wants to delete
// and that a transaction holds.
const verbBatch = 5000

// change does the verb in batches, each a transaction of its own, and returns how many events it was about, also
// together with an error.
func (r *parkedRun) change(ctx context.Context, result parkedResult) (changed int64, err error) {
	note := r.g.operationNote("parked "+r.verb.name, runName())
	step := func(n int64) {
		changed += n
		if result.Matched > verbBatch && isTerminal(r.g.stderr) {
			fmt.Fprintf(r.g.stderr, "\r%s %s of %s ", r.verb.progress, grouped(changed), grouped(result.Matched))
			if changed >= result.Matched {
				fmt.Fprintln(r.g.stderr)
			}
		}
	}
	if r.target.ids != nil {
		err = r.changeIDs(ctx, note, step)
	} else {
		err = r.changeSelection(ctx, result.lastNo, note, step)
	}
	if err != nil {
		err = &partError{verb: r.verb.name, changed: changed, matched: result.Matched, cause: err}
	}
	return changed, err
}

// errNoTime ends a verb between two batches.
var errNoTime = errors.New("that is all that one request has time for: relay parked has as much as it takes, or ask again with a narrower selection")

// inTime says that there is time for one more batch before the deadline.
func (r *parkedRun) inTime() error {
	if !r.deadline.IsZero() && time.Now().After(r.deadline) {
		return errNoTime
	}
	return nil
}

func (r *parkedRun) changeIDs(ctx context.Context, note map[string]string, step func(int64)) error {
	for batch := range slices.Chunk(r.target.ids, verbBatch) {
		if err := r.inTime(); err != nil {
			return err
		}
		var n int64
		if err := r.table.conn.QueryRow(ctx, r.verb.byID, batch, r.table.name, note).Scan(&n); err != nil {
			return err
		}
		step(n)
	}
	return nil
}

// changeSelection goes through the table by parked_no, so that it needs no list of what there is, and ends at the
// newest row that was counted: what the relay parks meanwhile, perhaps for the second time, is not meant.
func (r *parkedRun) changeSelection(ctx context.Context, lastNo int64, note map[string]string, step func(int64)) error {
	condition, args := r.target.where(r.table.name)
	edge := fmt.Sprintf(`
select clock_timestamp(), max(parked_no)
  from (select parked_no from parked where %s and parked_no > $%d and parked_no <= $%d order by parked_no limit %d) batch`,
		condition, len(args)+1, len(args)+2, verbBatch)
	var due time.Time
	s := r.target.selection
	for after := int64(0); ; {
		if err := r.inTime(); err != nil {
			return err
		}
		var now time.Time
		var to pgtype.Int8
		if err := r.table.conn.QueryRow(ctx, edge, append(slices.Clone(args), after, lastNo)...).Scan(&now, &to); err != nil {
			return err
		}
		if !to.Valid {
			return nil
		}
		if due.IsZero() {
			due = now // of all batches: among events that are due at one moment seq decides
		}
		call := []any{s.state, s.topic, s.key, s.reason, r.target.all, r.table.name, note, after, to.Int64}
		if r.verb.dated {
			call = append(call, due)
		}
		var n int64
		if err := r.table.conn.QueryRow(ctx, r.verb.bySelection, call...).Scan(&n); err != nil {
			return err
		}
		step(n)
		after = to.Int64
	}
}
