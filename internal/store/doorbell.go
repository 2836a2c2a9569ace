package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
)

// doorbellClass is the first half of the advisory lock's key, as in ring_slot; the second is the sequence's oid.
const doorbellClass = 7090210

// Doorbell lets a reader sleep until an insert rings. It works on the reader's own connection, between pages.
//
// While the bell is set, the connection holds the advisory lock, so an insert's shared try fails and its transaction
// notifies. The order matters: LISTEN stands since the session began; then the lock; then one more look for events;
// then the wait. An insert that committed before the lock was ours is seen by that look, a later one rings. A writer
// that still holds the lock shared makes Set fail: it would not ring.
type Doorbell struct {
	conn *pgx.Conn
	key  int32
}

// NewDoorbell listens on c and proves that a notification arrives. An error of probing says that sleeping is not
// possible here.
func NewDoorbell(ctx context.Context, c *pgx.Conn, id Identity) (*Doorbell, error) {
	channel := fmt.Sprintf("outbox_%d", id.Sequence)
	if _, err := c.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize(), pgx.QueryExecModeExec); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if _, err := c.Exec(ctx, "select pg_notify($1, 'probe')", channel); err != nil {
		return nil, fmt.Errorf("notify: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := c.WaitForNotification(ctx); err != nil {
		return nil, errors.New("a notification sent to ourselves did not arrive")
	}
	return &Doorbell{conn: c, key: int32(int64(id.Sequence) - 2147483648)}, nil
}

// Usable says whether an insert may ring at all on this server: a transaction that has notified cannot be prepared.
func Usable(ctx context.Context, c *pgx.Conn) (bool, error) {
	var prepared int
	err := c.QueryRow(ctx, "select current_setting('max_prepared_transactions')::int").Scan(&prepared)
	if err != nil {
		return false, fmt.Errorf("ask for max_prepared_transactions: %w", err)
	}
	return prepared == 0, nil
}

// Set hangs the bell up. False: a writer is busy, or another relay sleeps on the same events; stay awake.
func (d *Doorbell) Set(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var set bool
	err := d.conn.QueryRow(ctx, "select pg_try_advisory_lock($1, $2)", doorbellClass, d.key).Scan(&set)
	if err != nil {
		return false, fmt.Errorf("set the doorbell: %w", err)
	}
	return set, nil
}

// Wait sleeps until an insert rings, and says whether one did: false when ctx ended or patience was over.
func (d *Doorbell) Wait(ctx context.Context, patience time.Duration) (bool, error) {
	waitCtx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := d.conn.WaitForNotification(waitCtx)
	var timeout net.Error
	switch {
	case err == nil:
		return true, nil
	case waitCtx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return false, nil
	}
	return false, fmt.Errorf("wait for the doorbell: %w", err)
}

// Unset takes the bell down: from now on no insert notifies.
func (d *Doorbell) Unset(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var ok bool
	err := d.conn.QueryRow(ctx, "select pg_advisory_unlock($1, $2)", doorbellClass, d.key).Scan(&ok)
	if err != nil {
		return fmt.Errorf("unset the doorbell: %w", err)
	}
	return nil
}
