package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Work says what there is to do among the parked events.
type Work struct {
	Scheduled, Replay bool          // events whose time has come
	Next              time.Duration // until the time of the next one; zero or less when it has come, at most an hour
	Letters           bool          // dead events without a copy in the dead-letter topic
	Operations        int64         // number of the last operation that a person did
}

const (
	// fromStart is before every time that an event can be due.
	fromStart = "-infinity"
	// wholeShare is how much longer than a look from the start took it may not be repeated.
	wholeShare = 10
)

// lookSQL asks for all of it, from due time $2 on, and says from when on to look next time. Needs parked_due, parked_to_letter and the primary key of operations.
//
// Deleted rows stay in the index as long as any transaction may still see them, and are stepped over: 100,000 in half a
// second and more. So a look begins where the last one found the first row, but two seconds back, because what was
// parked just now may be due just now.
//
// The hour keeps infinity out, which deliver_at may be and an interval may not.
const lookSQL = `
	select scheduled <= statement_timestamp(), replay <= statement_timestamp(),
	       extract(epoch from greatest(least(scheduled, replay, statement_timestamp() + interval '1 hour'),
	                                   statement_timestamp() - interval '1 hour') - statement_timestamp())::float8,
	       least(scheduled, replay, statement_timestamp() - interval '2 seconds')::text,
	       exists (select from %[1]s where name = $1 and state = 'dead' and lettered_at is null),
	       coalesce((select op_no from %[2]s order by op_no desc limit 1), 0)
	  from (select coalesce((select due_at from %[1]s where name = $1 and state = 'scheduled' and due_at >= $2 order by due_at, seq limit 1), 'infinity'),
	               coalesce((select due_at from %[1]s where name = $1 and state = 'replay' and due_at >= $2 order by due_at, seq limit 1), 'infinity'))
	       first (scheduled, replay)`

// LockOperations has to come before an insert into the table operations, as in parked_operation: the relay looks only at
// the highest op_no, so those have to be committed in their order.
func LockOperations(ctx context.Context, tx pgx.Tx, table string) error {
	_, err := tx.Exec(ctx, `select pg_advisory_xact_lock(7090211, ($1::text::regclass::oid::bigint - 2147483648)::integer)`, table)
	return err
}

// Look asks in one round trip: an idle relay asks each second. An event that was given a time before those that were
// due at the last look is seen by the next look from the start, which is at once unless that is slow.
func (y *Yard) Look(ctx context.Context) (Work, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var w Work
	var seconds float64
	began := time.Now()
	from, whole := y.from, !began.Before(y.wholeAt)
	if whole {
		from = fromStart
	}
	err := y.conn.QueryRow(ctx, fmt.Sprintf(lookSQL, y.names.table("parked"), y.names.table("operations")), y.name, from).
		Scan(&w.Scheduled, &w.Replay, &seconds, &y.from, &w.Letters, &w.Operations)
	if err != nil {
		return w, fmt.Errorf("look for parked events: %w", err)
	}
	if whole {
		y.wholeAt = time.Now().Add(wholeShare * time.Since(began))
	}
	w.Next = time.Duration(seconds * float64(time.Second))
	return w, nil
}
