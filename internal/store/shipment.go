package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Shipment is what the parked runner published in one Kafka transaction, and Kafka decides about (delivery
// exactly_once).
type Shipment struct {
	Batch    int64   `json:"batch"` // as Candidate's
	After    int64   `json:"after"`
	Released []int64 `json:"released,omitempty"` // parked_no of rows that are deleted
	Lettered []int64 `json:"lettered,omitempty"` // parked_no of dead rows that were copied to the dead-letter topic
}

const (
	prepareShipmentSQL = `update %[1]s set parked_batch = $4, parked_candidate = $5::jsonb
		where name = $1 and epoch = $2 and session = $3 returning name`

	doubtSQL = `select parked_batch, parked_candidate::text from %[1]s where name = $1 and epoch = $2 and session = $3`

	// shippedSQL needs the primary key of parked.
	shippedSQL = `
		with mine as (
			update %[1]s set delivered = delivered + cardinality($4::int8[]), parked_candidate = null
			 where name = $1 and epoch = $2 and session = $3 returning name),
		released as (
			delete from %[2]s p using mine where p.name = mine.name and p.parked_no = any($4::int8[])),
		lettered as (
			update %[2]s p set lettered_at = now() from mine where p.name = mine.name and p.parked_no = any($5::int8[]))
		select name from mine`
)

// Prepare makes a shipment durable before its transaction is committed. ErrFenced: nothing was done.
func (y *Yard) Prepare(ctx context.Context, s *Shipment) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write down shipment %d: %w", s.Batch, err)
	}
	return y.decide(ctx, fmt.Sprintf("prepare shipment %d", s.Batch), prepareShipmentSQL, s.Batch, string(text))
}

// Shipped does what a shipment was about, now that its transaction is known to be committed. ErrFenced: nothing was
// done. Safe twice.
func (y *Yard) Shipped(ctx context.Context, s *Shipment) error {
	return y.decide(ctx, fmt.Sprintf("settle shipment %d", s.Batch), shippedSQL, orEmpty(s.Released), orEmpty(s.Lettered))
}

// Doubt gives the number of the last shipment prepared, and the shipment while it is not known to be settled; nil when
// nothing is in doubt. ErrFenced: the epoch is not ours.
func (y *Yard) Doubt(ctx context.Context) (batch int64, s *Shipment, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var text []byte
	err = y.conn.QueryRow(ctx, fmt.Sprintf(doubtSQL, y.names.table("relays")), y.name, y.fence.Epoch, y.fence.Session).Scan(&batch, &text)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil, ErrFenced
	}
	if err != nil {
		return 0, nil, fmt.Errorf("read the shipment in doubt: %w", err)
	}
	if text == nil {
		return batch, nil, nil
	}
	s = &Shipment{}
	if err := json.Unmarshal(text, s); err != nil {
		return 0, nil, fmt.Errorf("read the shipment in doubt: %w", err)
	}
	return batch, s, nil
}

func (y *Yard) decide(ctx context.Context, what, sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var name string
	err := y.conn.QueryRow(ctx, fmt.Sprintf(sql, y.names.table("relays"), y.names.table("parked")),
		append([]any{y.name, y.fence.Epoch, y.fence.Session}, args...)...).Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrFenced
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// orEmpty keeps PostgreSQL's cardinality from being null.
func orEmpty(nos []int64) []int64 {
	if nos == nil {
		return []int64{}
	}
	return nos
}
