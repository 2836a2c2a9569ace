package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/outboxrelay/relay/internal/pgsession"
)

// ConnString gives the connection string each time one is needed, so that a rotated secret is picked up.
type ConnString func() (string, error)

const (
	connectTimeout = 5 * time.Second
	// answerTimeout bounds one statement that is expected to answer at once.
	answerTimeout = 10 * time.Second
	// unansweredFor is how long a peer's kernel may leave what was sent to it without an answer, where the system can be
	// told so. Keep-alives, which find a dead peer as soon, are sent only while nothing waits for an answer.
	unansweredFor = 9 * time.Second
	// readAtOnce is how much is taken from a connection by one call: the server writes 8 kB at a time, and while rows are
	// handed out much more is waiting.
	readAtOnce = 64 << 10
)

// sessionRules hold on each connection of the relay. Plans are pinned: events is empty most of the time, so the
// planner's statistics would one day choose a sequential scan of a backlog; the page query needs a Merge Append over
// the seq indexes of the ring. lock_timeout keeps us from queueing behind an ALTER for ever (and writers behind us).
// exactly_once needs what it prepares to be on disk; settings above "on" and "local" stay.
const sessionRules = `
	set enable_seqscan = off; set enable_sort = off; set enable_bitmapscan = off; set jit = off;
	set plan_cache_mode = force_generic_plan;
	set search_path = pg_catalog; set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres';
	set bytea_output = 'hex'; set extra_float_digits = 1; set client_min_messages = warning;
	set statement_timeout = 0; set lock_timeout = '5s'; set idle_in_transaction_session_timeout = 0;
	set idle_session_timeout = 0;
	select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off';
	set default_transaction_read_only = off; set default_transaction_isolation = 'read committed'`

// Refused is an error that waiting does not cure: this server or this schema is not one that the relay may work on.
type Refused struct{ Why string }

func (r *Refused) Error() string { return r.Why }

// Connect opens one connection under the session rules. It refuses a server that is in recovery or older than 14, and a
// pooler that keeps no sessions (pgsession.ErrPooled).
// application is what pg_stat_activity shows.
func Connect(ctx context.Context, conn ConnString, application string) (*pgx.Conn, error) {
	text, err := conn()
	if err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, &Refused{Why: "postgres.url is not a libpq URL or key=value string: relay config check says where"}
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{Control: giveUpUnanswered, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 3 * time.Second, Interval: 2 * time.Second, Count: 3}}
	cfg.DialFunc = dialer.DialContext
	var beats *pulse
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		beats = &pulse{from: r}
		return pgproto3.NewFrontend(bufio.NewReaderSize(beats, readAtOnce), w)
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = application
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	c.PgConn().CustomData()[pulseKey] = beats // of the host that was taken
	if err := prepareSession(ctx, c); err != nil {
		closeSoon(c)
		return nil, err
	}
	return c, nil
}

func prepareSession(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var version int
	var recovery bool
	err := c.QueryRow(ctx, "select current_setting('server_version_num')::int, pg_is_in_recovery()",
		pgx.QueryExecModeExec).Scan(&version, &recovery)
	if err != nil {
		return fmt.Errorf("ask the server for its version: %w", err)
	}
	if version < 140000 {
		return &Refused{Why: fmt.Sprintf("PostgreSQL %d is too old: the relay needs 14 or newer", version/10000)}
	}
	if recovery {
		// A standby may be promoted, or the URL may name several hosts: worth another try, so not Refused.
		return errors.New("the server is in recovery: a standby shows commits in another order; " +
			"name the primary, or several hosts with target_session_attrs=read-write")
	}
	// Before the rules: through a pooler in transaction mode they would land on connections of the applications.
	if err := pgsession.Own(ctx, c); err != nil {
		return err
	}
	if _, err := c.PgConn().Exec(ctx, sessionRules).ReadAll(); err != nil {
		return fmt.Errorf("set the session rules: %w", err)
	}
	return nil
}

// closeSoon ends a connection without waiting long for a server that may be gone.
func closeSoon(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx)
}

// Names are the tables of one schema, quoted.
type Names struct{ schema string }

// In names the tables of this schema. Any name is safe: it is quoted.
func In(schema string) Names { return Names{schema: schema} }

func (n Names) table(name string) string { return pgx.Identifier{n.schema, name}.Sanitize() }

// Identity is the database cluster and timeline a connection reaches, and the ring's own key for the doorbell.
type Identity struct {
	System   string // system_identifier
	Timeline int32
	Sequence uint32 // oid of events_seq
}

// Identify asks who the server is and whether the schema is there. The timeline is that of what is written now:
// pg_control_checkpoint shows the old one until the first checkpoint after a promotion, minutes later.
func Identify(ctx context.Context, c *pgx.Conn, names Names) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var id Identity
	err := c.QueryRow(ctx, `
		select s.system_identifier::text, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int4,
		       coalesce(to_regclass($1), 0)::oid
		  from pg_control_system() s`, names.table("events_seq")).
		Scan(&id.System, &id.Timeline, &id.Sequence)
	if err != nil {
		return id, fmt.Errorf("identify the server: %w", err)
	}
	if id.Sequence == 0 {
		return id, &Refused{Why: fmt.Sprintf("schema %s has no outbox: run relay migrate up", pgx.Identifier{names.schema}.Sanitize())}
	}
	return id, nil
}
