package pgsession

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrPooled says that a pooler stands in between which gives each transaction another server connection. Settings,
// prepared statements and LISTEN would end up on connections that belong to others.
var ErrPooled = errors.New("a pooler in transaction mode stands between relay and PostgreSQL (PgBouncer with pool_mode = transaction?), " +
	"and relay needs a session of its own: let postgres.url lead to PostgreSQL itself, or to a database or user of the " +
	"pooler with pool_mode = session; applications may go on writing through transaction mode")

const (
	// answerTimeout bounds all of it.
	answerTimeout = 10 * time.Second
	// probePatience is how long a notification may take. It decides only how long the refusal takes.
	probePatience = 2 * time.Second
)

// Own makes sure that the connection keeps one server connection for as long as it lives. Otherwise the error is
// ErrPooled, or says why it could not be found out. Nothing is left behind in either case but a LISTEN, which harms
// nobody.
//
// A direct connection is told by the server's process number: poolers give their clients another one. Behind a pooler,
// LISTEN tells session mode from the others: a notification from a second connection reaches the first only while the
// first has its server connection, although it is doing nothing. Comparing process numbers, or looking for a setting
// from before, would say nothing: an idle pool gives the same server connection again.
func Own(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var pid uint32
	if err := c.QueryRow(ctx, "select pg_backend_pid()", pgx.QueryExecModeExec).Scan(&pid); err != nil {
		return fmt.Errorf("ask for the server's process number: %w", err)
	}
	if pid == c.PgConn().PID() {
		return nil
	}
	channel := "outbox_probe_" + strings.ToLower(rand.Text())
	if _, err := c.PgConn().Exec(ctx, "listen "+channel).ReadAll(); err != nil {
		return fmt.Errorf("%w (listen: %w)", ErrPooled, err)
	}
	if err := notifyFromElsewhere(ctx, c.Config(), channel); err != nil {
		return fmt.Errorf("find out whether the pooler in front of PostgreSQL keeps sessions: %w", err)
	}
	wait, enough := context.WithTimeout(ctx, probePatience)
	defer enough()
	if err := c.PgConn().WaitForNotification(wait); err != nil {
		return ErrPooled
	}
	if _, err := c.PgConn().Exec(ctx, "unlisten "+channel).ReadAll(); err != nil {
		return fmt.Errorf("unlisten: %w", err)
	}
	return nil
}

func notifyFromElsewhere(ctx context.Context, cfg *pgx.ConnConfig, channel string) error {
	other, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("open a second connection: %w", err)
	}
	defer other.Close(context.WithoutCancel(ctx))
	if _, err := other.PgConn().Exec(ctx, "notify "+channel).ReadAll(); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}
