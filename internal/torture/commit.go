package torture

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

// finish ends the transaction as planned, and says what is known of its end. After an error the connection is of no use.
func (w *writer) finish(ctx context.Context, p plan, id string) (string, error) {
	switch p.kind {
	case rolledBack:
		_, err := w.conn.Exec(ctx, "rollback")
		return journal.RolledBack, err
	case killed:
		return journal.RolledBack, w.conn.PgConn().Conn().Close()
	case cut:
		front := w.conn.PgConn().Frontend()
		front.Send(&pgproto3.Query{String: "commit"})
		err := errors.Join(front.Flush(), w.conn.PgConn().Conn().Close())
		w.giveUpNow()
		return journal.Unknown, err
	case prepared, preparedRolledBack:
		return w.finishInTwo(ctx, p, id)
	}
	tag, err := w.conn.Exec(ctx, "commit")
	return ended(tag, err, journal.Committed), err
}

// giveUpNow forgets a connection whose socket is closed.
func (w *writer) giveUpNow() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = w.conn.Close(ctx)
}

func (w *writer) finishInTwo(ctx context.Context, p plan, id string) (string, error) {
	if _, err := w.conn.Exec(ctx, "prepare transaction '"+id+"'"); err != nil {
		return ended(pgconn.CommandTag{}, err, journal.Committed), err
	}
	pause(ctx, p.sleep)
	how, good := "commit", journal.Committed
	if p.kind == preparedRolledBack {
		how, good = "rollback", journal.RolledBack
	}
	if _, err := w.conn.Exec(ctx, how+" prepared '"+id+"'"); err != nil {
		return journal.Unknown, err // it may still stand there: finishPrepared ends it
	}
	return good, nil
}

// ended says what an answer to COMMIT means. An error that the server says with its own words, and that does not end
// the connection, means that it was rolled back; so does the answer ROLLBACK. Anything else leaves it open.
func ended(tag pgconn.CommandTag, err error, good string) string {
	server, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil && tag.String() == "ROLLBACK":
		return journal.RolledBack
	case err == nil:
		return good
	case ok && server.SeverityUnlocalized == "ERROR":
		return journal.RolledBack
	}
	return journal.Unknown
}

// finishPrepared ends transactions that were left prepared, by the like pattern: every other one is committed. A name
// that somebody else has just finished is passed over.
func finishPrepared(ctx context.Context, conn *pgx.Conn, ledger *journal.Writer, like string) error {
	rows, err := conn.Query(ctx, "select gid from pg_prepared_xacts where gid like $1 and database = current_database() order by gid", like)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for prepared transactions: %w", err)
	}
	for i, name := range names {
		how, end := "commit", journal.Committed
		if i%2 == 1 {
			how, end = "rollback", journal.RolledBack
		}
		_, err := conn.Exec(ctx, how+" prepared '"+name+"'")
		if err != nil {
			return fmt.Errorf("%s what was left prepared: %w", how, err)
		}
		ledger.Append(journal.Ledger{At: journal.Now(), Tx: name, What: journal.Resolved, End: end})
	}
	return nil
}
