package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Lease is the right to lead one relay name, decided by the database's clock. It lives in the cursor's row, so that
// one row lock decides who leads and how far the cursor is. Not safe for concurrent use: it owns one connection.
type Lease struct {
	conn   *pgx.Conn
	table  string
	name   string
	holder string
	ttl    time.Duration
}

// NewLease speaks for holder, a name that no other process uses. The lease owns c from now on.
func NewLease(c *pgx.Conn, names Names, name, holder string, ttl time.Duration) *Lease {
	return &Lease{conn: c, table: names.table("relays"), name: name, holder: holder, ttl: ttl}
}

// Acquire takes the lease when it is free, released or expired, and returns the new epoch; ok is false while somebody
// else holds it. A name that nobody has used yet is created: its cursor stands before the first event.
func (l *Lease) Acquire(ctx context.Context) (epoch int64, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	const take = `
		update %s set epoch = epoch + 1, holder = $2, expires_at = clock_timestamp() + $3
		 where name = $1 and (holder is null or expires_at < clock_timestamp())
		returning epoch`
	err = l.conn.QueryRow(ctx, fmt.Sprintf(take, l.table), l.name, l.holder, l.ttl).Scan(&epoch)
	if err == nil {
		return epoch, true, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return 0, false, fmt.Errorf("take the lease: %w", err)
	}
	tag, err := l.conn.Exec(ctx, fmt.Sprintf(`insert into %s (name) select $1 where not exists (select from %[1]s where name = $1)
		on conflict do nothing`, l.table), l.name)
	if err != nil {
		return 0, false, fmt.Errorf("create the cursor of %q: %w", l.name, err)
	}
	if tag.RowsAffected() == 1 {
		return l.Acquire(ctx)
	}
	return 0, false, nil
}

// Renew makes the lease last for its ttl from now. ErrFenced says that it is lost. A server that does not answer is
// given up after a third of the ttl: then there is time to try another connection.
func (l *Lease) Renew(ctx context.Context, epoch int64) error {
	ctx, cancel := context.WithTimeout(ctx, min(answerTimeout, l.ttl/3))
	defer cancel()
	tag, err := l.conn.Exec(ctx, fmt.Sprintf(`update %s set expires_at = clock_timestamp() + $4
		where name = $1 and epoch = $2 and holder = $3`, l.table), l.name, epoch, l.holder, l.ttl)
	if err != nil {
		return fmt.Errorf("renew epoch %d: %w", epoch, err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("renew epoch %d: %w", epoch, ErrFenced)
	}
	return nil
}

// Release gives the lease up, so that a follower may lead at once. A lease that is lost already stays as it is:
// ErrFenced.
func (l *Lease) Release(ctx context.Context, epoch int64) error {
	tag, err := l.conn.Exec(ctx, fmt.Sprintf(`update %s set holder = null, expires_at = '-infinity'
		where name = $1 and epoch = $2 and holder = $3`, l.table), l.name, epoch, l.holder)
	if err != nil {
		return fmt.Errorf("release epoch %d: %w", epoch, err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("release epoch %d: %w", epoch, ErrFenced)
	}
	return nil
}

// Holder says who holds the lease, for a follower's status. Empty: nobody.
func (l *Lease) Holder(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var holder *string
	err := l.conn.QueryRow(ctx, fmt.Sprintf("select holder from %s where name = $1", l.table), l.name).Scan(&holder)
	if err != nil || holder == nil {
		return "", err
	}
	return *holder, nil
}

// Close ends the connection.
func (l *Lease) Close() { closeSoon(l.conn) }
