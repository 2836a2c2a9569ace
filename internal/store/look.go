package store

import (
	"context"
	"fmt"
	"time"
)

// Work says what there is to do among the parked events.
type Work struct {
	Scheduled, Replay bool          // events whose time has come
	Next              time.Duration // until the time of the next one; zero or less when it has come, at most an hour
	Letters           bool          // dead events without a copy in the dead-letter topic
	Operations        int64         // number of the last operation that a person did
}

// lookSQL asks for all of it. Needs parked_due, parked_to_letter and the primary key of operations.
//
// The hour keeps infinity out, which deliver_at may be and an interval may not.
const lookSQL = `
	select scheduled <= statement_timestamp(), replay <= statement_timestamp(),
	       extract(epoch from greatest(least(scheduled, replay, statement_timestamp() + interval '1 hour'),
	                                   statement_timestamp() - interval '1 hour') - statement_timestamp())::float8,
	       exists (select from %[1]s where name = $1 and state = 'dead' and lettered_at is null),
	       coalesce((select op_no from %[2]s order by op_no desc limit 1), 0)
	  from (select coalesce((select due_at from %[1]s where name = $1 and state = 'scheduled' order by due_at, seq limit 1), 'infinity'),
	               coalesce((select due_at from %[1]s where name = $1 and state = 'replay' order by due_at, seq limit 1), 'infinity'))
	       first (scheduled, replay)`

// Look asks in one round trip: an idle relay asks every other second.
func (y *Yard) Look(ctx context.Context) (Work, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var w Work
	var seconds float64
	err := y.conn.QueryRow(ctx, fmt.Sprintf(lookSQL, y.names.table("parked"), y.names.table("operations")), y.name).
		Scan(&w.Scheduled, &w.Replay, &seconds, &w.Letters, &w.Operations)
	if err != nil {
		return w, fmt.Errorf("look for parked events: %w", err)
	}
	w.Next = time.Duration(seconds * float64(time.Second))
	return w, nil
}
