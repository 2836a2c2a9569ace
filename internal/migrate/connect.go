package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/outboxrelay/relay/internal/pgsession"
)

// A migration that waits for a table lock makes every later writer of that table wait behind it. So it waits two
// seconds, gives way, and tries again after one.
const (
	lockTimeout = "2s"
	lockPause   = time.Second
	lockTries   = 20
)

// open prepares connections on which unqualified names mean the schema and nothing else. A pooler that keeps no sessions
// is refused first, where the settings would land on somebody else's.
func open(url, schema string) (*sql.DB, error) {
	if err := checkSchemaName(schema); err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("read the PostgreSQL address: %w", err)
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "relay migrate"
	}
	return stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		if err := pgsession.Own(ctx, c); err != nil {
			return err
		}
		_, err := c.Exec(ctx, `select set_config('search_path', $1, false), set_config('lock_timeout', $2, false),
			set_config('statement_timeout', '0', false)`, pgx.QueryExecModeExec, quote(schema), lockTimeout)
		return err
	})), nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// checkSchemaName refuses what PostgreSQL would refuse later, and a name that it would cut, which would put the tables
// into another schema than the relay looks in.
func checkSchemaName(schema string) error {
	switch {
	case schema == "":
		return errors.New("the schema has no name: set [outbox] schema")
	case len(schema) > 63:
		return fmt.Errorf("schema %q has %d bytes and PostgreSQL keeps 63: choose a shorter name", schema, len(schema))
	case schema == "$user":
		return errors.New(`schema "$user" cannot be used: search_path takes it for the role's name, quoted or not; choose another name`)
	case strings.HasPrefix(schema, "pg_"):
		return fmt.Errorf("schema %q begins with pg_, which PostgreSQL keeps for itself: choose another name", schema)
	case !utf8.ValidString(schema) || strings.ContainsRune(schema, 0):
		return fmt.Errorf("schema %q is not UTF-8 text: choose another name", schema)
	}
	return nil
}

func checkServer(ctx context.Context, db *sql.DB) error {
	var version int
	var text string
	var recovery bool
	err := db.QueryRowContext(ctx, `select current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery()`).
		Scan(&version, &text, &recovery)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", hintPooler(err))
	}
	return judgeServer(version, text, recovery)
}

func judgeServer(version int, text string, recovery bool) error {
	if version < 14_00_00 {
		return fmt.Errorf("PostgreSQL %s is too old: the outbox needs 14 or newer", text)
	}
	if recovery {
		return errors.New("this server is a standby in recovery and takes no migration: connect to the primary, or name all hosts in the URL with target_session_attrs=read-write")
	}
	return nil
}

// givingWay runs one attempt after another until it gets its locks.
func givingWay[T any](ctx context.Context, attempt func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		result, err := attempt()
		if sqlState(err) != "55P03" {
			return result, err
		}
		if try == lockTries {
			return result, fmt.Errorf("%w; gave way to other transactions %d times: end the long ones (pg_stat_activity, pg_prepared_xacts) and run it again", err, try)
		}
		select {
		case <-ctx.Done():
			return result, fmt.Errorf("%w while giving way: %w", ctx.Err(), err)
		case <-time.After(lockPause):
		}
	}
}

func sqlState(err error) string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Code
	}
	return ""
}

// explain adds to a server's refusal who may do it. The names come from the catalog; when that cannot be read the error
// goes back as it was.
func explain(ctx context.Context, db queryer, schema string, err error) error {
	switch sqlState(err) {
	case "42501": // insufficient_privilege
		const query = `select current_user, current_database(), pg_get_userbyid(d.datdba),
coalesce((select pg_get_userbyid(nspowner) from pg_catalog.pg_namespace where nspname = $1), '')
from pg_catalog.pg_database d where d.datname = current_database()`
		var user, database, databaseOwner, schemaOwner string
		if db.QueryRowContext(ctx, query, schema).Scan(&user, &database, &databaseOwner, &schemaOwner) != nil {
			return err
		}
		if schemaOwner == "" {
			return fmt.Errorf("%w; role %q may not create a schema in database %q: run this as its owner %q or a superuser, or let them `grant create on database %s to %s`",
				err, user, database, databaseOwner, quote(database), quote(user))
		}
		return fmt.Errorf("%w; role %q lacks the right: run this as the schema's owner %q or a superuser", err, user, schemaOwner)
	case "25006": // read_only_sql_transaction
		return fmt.Errorf("%w; the server or the role is read-only: connect to the primary, and unset default_transaction_read_only", err)
	}
	return err
}

// hintPooler names the cause of a refusal that would puzzle: PgBouncer takes no startup settings that it cannot keep.
func hintPooler(err error) error {
	if err != nil && strings.Contains(err.Error(), "unsupported startup parameter") {
		return fmt.Errorf("%w; this looks like PgBouncer: migrations need a direct connection to the server", err)
	}
	return err
}
