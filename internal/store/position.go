package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Position is what a session starts from: the cursor row, read under our own epoch.
type Position struct {
	Fence   Fence
	Cursor  Cursor
	Anchors *Anchors
	// Delivered is what the row counts. FormerTimeline is the one it was last read on, when that is not this one: then a
	// standby was promoted, or a backup restored, and commits may be lost. Else 0.
	Delivered      int64
	FormerTimeline int32
	// Batch is the number of the last batch prepared, Candidate what it will settle; nil when nothing is in doubt.
	Batch     int64
	Candidate *Candidate
}

// ErrOtherCluster says that the cursor belongs to another database cluster: the xids in it mean nothing here.
var ErrOtherCluster = errors.New("the cursor was written in another database cluster (a dump was restored here, or pg_upgrade was run?): " +
	"run relay rebase to deliver what is pending")

// DatabaseName is the name of the connected database as the server knows it.
func DatabaseName(ctx context.Context, c *pgx.Conn) (name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := c.QueryRow(ctx, "select current_database()").Scan(&name); err != nil {
		return "", fmt.Errorf("ask for the database's name: %w", err)
	}
	return name, nil
}

// Fence is what every statement of a session names: the term, and which of its sessions. The epoch alone would let a
// late statement of an earlier session through, which may wait in the server for a lock or a synchronous standby long
// after its session has given up on it (docs/decisions/0003-the-model.md).
type Fence struct{ Epoch, Session int64 }

// ReadPosition begins a session: it reads the cursor row and draws the session's number in one statement, which waits
// for one that is being carried out. From then on nothing that an earlier session has sent changes the row. ErrFenced:
// the lease is not this holder's under this epoch. ErrOtherCluster: see there. The first reader of a new row, and the
// first after a promotion, writes the cluster's identity into it.
//
// The statement's own xid gives an anchor. Without it a backlog of a long stop would have no floor above its beginning,
// and whoever asks how much is pending while it drains would scan what has been delivered of it.
func ReadPosition(ctx context.Context, c *pgx.Conn, names Names, name, holder string, epoch int64, id Identity) (Position, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var from, anchorXID string
	var to, system *string
	var timeline *int32
	var after, floor, anchorSeq, batch, session int64
	var candidate []byte
	var xid string
	sequence := newSequence(names)
	reached, err := sequence.before(ctx, c, fmt.Sprintf(`
		update %s set session = session + 1 where name = $1 and epoch = $2 and holder = $3
		returning window_from::text, window_to::text, after_seq, floor_seq, anchor_xid::text, anchor_seq, system_identifier, timeline,
		       batch, candidate::text, session, pg_current_xact_id()::text`, names.table("relays")),
		[]any{name, epoch, holder},
		&from, &to, &after, &floor, &anchorXID, &anchorSeq, &system, &timeline, &batch, &candidate, &session, &xid)
	if errors.Is(err, pgx.ErrNoRows) {
		return Position{}, ErrFenced
	}
	if err != nil {
		return Position{}, fmt.Errorf("read the cursor: %w", err)
	}
	if system != nil && *system != id.System {
		return Position{}, ErrOtherCluster
	}
	former := int32(0)
	if timeline != nil && *timeline != id.Timeline {
		former = *timeline
	}
	delivered, err := adopt(ctx, c, names, name, epoch, id, former)
	if err != nil {
		return Position{}, err
	}
	sequence.high = max(floor, anchorSeq) // both were read from it; after_seq may be of a row that somebody slipped in
	if err := sequence.reached(reached); err != nil {
		return Position{}, err
	}
	position, err := parsePosition(from, to, after, floor, anchorXID, anchorSeq)
	position.Delivered, position.FormerTimeline = delivered, former
	if err != nil {
		return Position{}, err
	}
	fresh := Anchor{Seq: reached}
	if fresh.XID, err = parseXID(xid); err != nil {
		return Position{}, fmt.Errorf("read the cursor: %w", err)
	}
	position.Anchors.Add(fresh)
	position.Batch, position.Fence = batch, Fence{epoch, session}
	position.Candidate, err = parseCandidate(candidate)
	return position, err
}

// adopt writes into the row where it lives now, and gives what the row counts as delivered. A change of the timeline is
// noted for people who look there.
func adopt(ctx context.Context, c *pgx.Conn, names Names, name string, epoch int64, id Identity, former int32) (delivered int64, err error) {
	var note *string
	if former != 0 {
		text := fmt.Sprintf("PostgreSQL went from timeline %d to %d (a standby was promoted, or a backup restored): "+
			"commits that were not copied are lost, and events of theirs may be in Kafka", former, id.Timeline)
		note = &text
	}
	err = c.QueryRow(ctx, fmt.Sprintf(`update %s set system_identifier = $3, timeline = $4, last_error = coalesce($5, last_error),
			last_error_at = case when $5 is null then last_error_at else clock_timestamp() end
		where name = $1 and epoch = $2 returning delivered`, names.table("relays")), name, epoch, id.System, id.Timeline, note).
		Scan(&delivered)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrFenced
	}
	if err != nil {
		return 0, fmt.Errorf("write the cluster's identity: %w", err)
	}
	return delivered, nil
}

func parsePosition(from string, to *string, after, floor int64, anchorXID string, anchorSeq int64) (Position, error) {
	p, err := ParseSnapshot(from)
	if err != nil {
		return Position{}, fmt.Errorf("read the cursor: %w", err)
	}
	xid, err := parseXID(anchorXID)
	if err != nil {
		return Position{}, fmt.Errorf("read the cursor: anchor: %w", err)
	}
	position := Position{Cursor: At(p), Anchors: NewAnchors(floor, Anchor{XID: xid, Seq: anchorSeq})}
	if to != nil {
		c, err := ParseSnapshot(*to)
		if err != nil {
			return Position{}, fmt.Errorf("read the cursor: %w", err)
		}
		position.Cursor = position.Cursor.Within(c, after)
	}
	return position, nil
}
