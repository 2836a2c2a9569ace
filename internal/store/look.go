package store

import (
	"context"
	"fmt"
)

// Work says what there is to do among the parked events.
type Work struct {
	Scheduled, Replay bool  // events whose time has come
	Letters           bool  // dead events without a copy in the dead-letter topic
	Operations        int64 // number of the last operation that a person did
}

// Look asks for all of it in one round trip: an idle relay asks a few times a second. Needs parked_due,
// parked_to_letter and the primary key of operations.
func (y *Yard) Look(ctx context.Context) (Work, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var w Work
	parked := y.names.table("parked")
	err := y.conn.QueryRow(ctx, fmt.Sprintf(`
		select exists (select from %[1]s where name = $1 and state = 'scheduled' and due_at <= clock_timestamp()),
		       exists (select from %[1]s where name = $1 and state = 'replay' and due_at <= clock_timestamp()),
		       exists (select from %[1]s where name = $1 and state = 'dead' and lettered_at is null),
		       coalesce((select op_no from %[2]s order by op_no desc limit 1), 0)`,
		parked, y.names.table("operations")), y.name).Scan(&w.Scheduled, &w.Replay, &w.Letters, &w.Operations)
	if err != nil {
		return w, fmt.Errorf("look for parked events: %w", err)
	}
	return w, nil
}
