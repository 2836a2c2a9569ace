package outbox

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// SQL makes a [Tx] from a database/sql transaction, whatever its driver for PostgreSQL:
//
//	err := outbox.Insert(ctx, outbox.SQL(tx), event)
//
// Libraries that wrap *sql.Tx give it away: sqlx.Tx and bun.Tx as their field Tx.
func SQL(tx *sql.Tx) SQLTx { return SQLTx{tx: tx} }

// SQLTx is a database/sql transaction as a [Tx].
type SQLTx struct{ tx *sql.Tx }

// Exec runs a statement in the transaction.
func (t SQLTx) Exec(ctx context.Context, query string, arguments ...any) (pgconn.CommandTag, error) {
	result, err := t.tx.ExecContext(ctx, query, arguments...)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	rows, err := result.RowsAffected()
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	return pgconn.NewCommandTag(fmt.Sprintf("INSERT 0 %d", rows)), nil
}

// QueryRow runs a query in the transaction that returns one row; outboxtest reads by it.
func (t SQLTx) QueryRow(ctx context.Context, query string, arguments ...any) pgx.Row {
	return t.tx.QueryRowContext(ctx, query, arguments...)
}

// Rollback rolls the transaction back. This package never calls it.
func (t SQLTx) Rollback(context.Context) error { return t.tx.Rollback() }
