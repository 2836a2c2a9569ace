package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// locker lets one session at a time migrate a schema. It also makes the schema, because two that make it at once would
// otherwise fail each other.
//
// It tries and pauses instead of waiting in the server: a waiting statement would hold a snapshot, and lock_timeout
// would end it.
type locker struct{ schema string }

const lockRetry = 50 * time.Millisecond

// The first number is ours; the second tells schemas apart. The doorbell uses 7090210.
const (
	lockSQL   = `select pg_try_advisory_lock(7090211, hashtext($1))`
	unlockSQL = `select pg_advisory_unlock(7090211, hashtext($1))`
)

func (l locker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	for {
		var locked bool
		if err := conn.QueryRowContext(ctx, lockSQL, l.schema).Scan(&locked); err != nil {
			return fmt.Errorf("take the migration lock: %w", err)
		}
		if locked {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for another migration of schema %q to end: %w", l.schema, ctx.Err())
		case <-time.After(lockRetry):
		}
	}
	if err := prepareSchema(ctx, conn, l.schema); err != nil {
		// goose unlocks only what was locked without an error.
		_ = l.SessionUnlock(context.WithoutCancel(ctx), conn)
		return err
	}
	return nil
}

func (l locker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	// A connection that broke has lost its lock by itself; it must not keep us from returning the first error.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := conn.ExecContext(ctx, unlockSQL, l.schema); err != nil {
		return fmt.Errorf("release the migration lock: %w", err)
	}
	return nil
}

// prepareSchema makes the schema if it is missing, and refuses one whose events table is not an outbox.
func prepareSchema(ctx context.Context, conn *sql.Conn, schema string) error {
	var there bool
	if err := conn.QueryRowContext(ctx, `select exists (select from pg_catalog.pg_namespace where nspname = $1)`, schema).Scan(&there); err != nil {
		return fmt.Errorf("look for schema %q: %w", schema, err)
	}
	if !there {
		// Not "if not exists": that asks for the right to create schemas even when there is nothing to create.
		if _, err := conn.ExecContext(ctx, "create schema "+quote(schema)); err != nil {
			return fmt.Errorf("create schema %q: %w", schema, err)
		}
		return nil
	}
	const foreign = `select c.relkind <> 'p' or not exists (
select from pg_catalog.pg_attribute where attrelid = c.oid and attname = 'xid' and atttypid = 'xid8'::regtype)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = 'events'`
	var strange bool
	err := conn.QueryRowContext(ctx, foreign, schema).Scan(&strange)
	if err != nil && err != sql.ErrNoRows {
		return fmt.Errorf("look at %q.events: %w", schema, err)
	}
	if strange {
		return fmt.Errorf("schema %q already holds something else named events: give the outbox a schema of its own ([outbox] schema)", schema)
	}
	return nil
}
