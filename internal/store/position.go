package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Position is what a session starts from: the cursor row, read under our own epoch.
type Position struct {
	Cursor  Cursor
	Anchors *Anchors
	// Batch is the number of the last batch prepared, Candidate what it will settle; nil when nothing is in doubt.
	Batch     int64
	Candidate *Candidate
	// ParkedBatch and Shipment are the same of the parked runner.
	ParkedBatch int64
	Shipment    *Shipment
}

// ErrOtherCluster says that the cursor belongs to another database cluster: the xids in it mean nothing here.
var ErrOtherCluster = errors.New("the cursor was written in another database cluster (a dump was restored here?): " +
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

// ReadPosition reads the cursor row. ErrFenced: the epoch is not ours. ErrOtherCluster: see there. The first reader
// of a new row, and the first after a promotion, writes the cluster's identity into it.
func ReadPosition(ctx context.Context, c *pgx.Conn, names Names, name string, epoch int64, id Identity) (Position, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var from, anchorXID string
	var to, system *string
	var timeline *int32
	var after, floor, anchorSeq, batch, parkedBatch int64
	var candidate, shipment []byte
	err := c.QueryRow(ctx, fmt.Sprintf(`
		select window_from::text, window_to::text, after_seq, floor_seq, anchor_xid::text, anchor_seq, system_identifier, timeline,
		       batch, candidate::text, parked_batch, parked_candidate::text
		  from %s where name = $1 and epoch = $2`, names.table("relays")), name, epoch).
		Scan(&from, &to, &after, &floor, &anchorXID, &anchorSeq, &system, &timeline,
			&batch, &candidate, &parkedBatch, &shipment)
	if errors.Is(err, pgx.ErrNoRows) {
		return Position{}, ErrFenced
	}
	if err != nil {
		return Position{}, fmt.Errorf("read the cursor: %w", err)
	}
	if system != nil && *system != id.System {
		return Position{}, ErrOtherCluster
	}
	if system == nil || timeline == nil || *timeline != id.Timeline {
		_, err := c.Exec(ctx, fmt.Sprintf(`update %s set system_identifier = $3, timeline = $4
			where name = $1 and epoch = $2`, names.table("relays")), name, epoch, id.System, id.Timeline)
		if err != nil {
			return Position{}, fmt.Errorf("write the cluster's identity: %w", err)
		}
	}
	position, err := parsePosition(from, to, after, floor, anchorXID, anchorSeq)
	if err != nil {
		return Position{}, err
	}
	position.Batch, position.ParkedBatch = batch, parkedBatch
	if position.Candidate, err = parseCandidate(candidate); err != nil {
		return Position{}, err
	}
	position.Shipment, err = parseShipment(shipment)
	return position, err
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
