package adopt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Whoever waits for a lock makes later writers wait behind him. So Adopter waits for a moment, gives way, and tries again.
// The moment is longer than PostgreSQL's deadlock_timeout, after which an autovacuum that is in the way is ended. A table
// with partitions has a lock for each, and the statement's own limit is for all of them.
const (
	lockTimeout = "1500ms"
	lockPause   = 2500 * time.Millisecond
)

// turn is work under a lock of the table.
type turn struct {
	table uint32
	lock  string // the statement that takes it
	// readers says that the lock waits for those who only read, too.
	readers bool
	// before, unless nil, is called before each try.
	before func(ctx context.Context) error
	// do may run more than once, and each time after what it did before was undone.
	do func(tx pgx.Tx) error
}

// errAgain is what a turn's do returns when it wants before to be called first.
var errAgain = errors.New("once more")

// inTurn runs t.do in a transaction that has the lock, however often it has to ask.
func (a *Adopter) inTurn(ctx context.Context, t turn) error {
	for {
		if t.before != nil {
			if err := t.before(ctx); err != nil {
				return err
			}
		}
		err := pgx.BeginTxFunc(ctx, a.Conn, committed, func(tx pgx.Tx) error {
			if err := locked(ctx, tx, t.lock); err != nil {
				return err
			}
			return t.do(tx)
		})
		if errors.Is(err, errAgain) {
			continue
		}
		if !isTurnOver(err) || ctx.Err() != nil {
			return err
		}
		if a.Waits != nil {
			a.Waits(a.holder(ctx, t))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPause):
		}
	}
}

// locked takes the lock, for which it waits for lockTimeout at most.
func locked(ctx context.Context, tx pgx.Tx, lock string) error {
	const limits = "set local lock_timeout = '" + lockTimeout + "'; set local statement_timeout = '" + lockTimeout + "'"
	if _, err := tx.Exec(ctx, limits); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, lock); err != nil {
		if server, ok := errors.AsType[*pgconn.PgError](err); ok && server.Code == queryCanceled {
			return fmt.Errorf("%w: %w", errNoLock, err)
		}
		return err
	}
	_, err := tx.Exec(ctx, "set local statement_timeout = 0")
	return err
}

const queryCanceled = "57014"

var errNoLock = errors.New("the lock was not granted")

// isTurnOver says that others have the locks.
func isTurnOver(err error) bool {
	server, ok := errors.AsType[*pgconn.PgError](err)
	return errors.Is(err, errNoLock) || ok && (server.Code == "55P03" || server.Code == deadlock) // lock_not_available
}

const deadlock = "40P01"

// holder names who has held a lock that is in the way for longest.
func (a *Adopter) holder(ctx context.Context, t turn) string {
	const query = `
select coalesce(format('process %s (%s, user %s) has had a transaction open for %s', l.pid, coalesce(nullif(a.application_name, ''), 'no name'), a.usename,
                       date_trunc('second', clock_timestamp() - a.xact_start)), 'a prepared transaction')
  from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
 where (l.relation = $1 or l.relation = any (select relid::oid from pg_catalog.pg_partition_tree($1::oid::regclass))) and l.granted and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
   and (l.mode <> 'AccessShareLock' or $2) and l.pid is distinct from pg_backend_pid()
 order by a.xact_start nulls first limit 1`
	var text string
	if err := a.Conn.QueryRow(ctx, query, t.table, t.readers).Scan(&text); err != nil {
		return "somebody who has ended meanwhile"
	}
	return text
}
