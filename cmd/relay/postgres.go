package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/pgsession"
)

// connectWithin bounds how long a command that does one thing waits for a server. The daemon waits for ever.
const connectWithin = 5 * time.Second

// connectPostgres opens a connection for a command that does one thing, named "relay <command>" in pg_stat_activity.
// The error says where it looked, what came back and what to do; it holds no password.
func connectPostgres(ctx context.Context, cfg *config.Config, command string) (*pgx.Conn, error) {
	text, err := cfg.Postgres.ConnString()
	if err != nil {
		return nil, err
	}
	parsed, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("postgres.url %s", config.ConnStringReason(err))
	}
	if parsed.ConnectTimeout == 0 || parsed.ConnectTimeout > connectWithin {
		parsed.ConnectTimeout = connectWithin
	}
	if parsed.RuntimeParams["application_name"] == "" {
		parsed.RuntimeParams["application_name"] = "relay " + command
	}
	// ConnectTimeout is for one host; with several, they share this.
	bounded, cancel := context.WithTimeout(ctx, 3*connectWithin)
	defer cancel()
	conn, err := pgx.ConnectConfig(bounded, parsed)
	if err == nil {
		if err := pgsession.Own(bounded, conn); err != nil {
			closePostgres(conn)
			return nil, err
		}
		return conn, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, explainConnect(err, &parsed.Config)
}

// place is where a connection string leads, without secrets.
func place(c *pgconn.Config) string {
	network, address := pgconn.NetworkAddress(c.Host, c.Port)
	if network == "unix" {
		address = c.Host
	}
	others := map[string]bool{}
	for _, f := range c.Fallbacks {
		if f.Host != c.Host || f.Port != c.Port {
			others[fmt.Sprint(f.Host, f.Port)] = true
		}
	}
	if len(others) > 0 {
		return fmt.Sprintf("%s (or %s)", address, count(len(others), "other host"))
	}
	return address
}

// explainConnect turns the error of a connection that did not come about into a sentence with the cure.
func explainConnect(err error, c *pgconn.Config) error {
	where := place(c)
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch server.Code {
		case "28P01", "28000":
			return fmt.Errorf("PostgreSQL at %s refused the login of %q: %s; check user and password in postgres.url, and pg_hba.conf",
				where, c.User, server.Message)
		case "3D000":
			return fmt.Errorf("PostgreSQL at %s has no database %q; create it, or name another in postgres.url", where, c.Database)
		case "53300":
			return fmt.Errorf("PostgreSQL at %s takes no more connections: %s", where, server.Message)
		}
		return fmt.Errorf("PostgreSQL at %s refused the connection: %s (SQLSTATE %s)", where, server.Message, server.Code)
	}
	const cure = "start it, or say in postgres.url where it is"
	if pgconn.Timeout(err) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("PostgreSQL at %s does not answer within %s; %s", where, connectWithin, cure)
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("PostgreSQL at %s cannot be reached: %w; %s", where, network.Err, cure)
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("PostgreSQL's host %s is not known: %s; check postgres.url", name.Name, name.Err)
	}
	return fmt.Errorf("PostgreSQL at %s cannot be reached: %w", where, innermost(err))
}

// innermost is the cause alone, of the first host when there are several: pgx wraps it in text that repeats the place
// for each try.
func innermost(err error) error {
	for {
		switch wrapped := err.(type) { //nolint:errorlint // this walks the tree itself
		case interface{ Unwrap() error }:
			if wrapped.Unwrap() == nil {
				return err
			}
			err = wrapped.Unwrap()
		case interface{ Unwrap() []error }:
			if len(wrapped.Unwrap()) == 0 {
				return err
			}
			err = wrapped.Unwrap()[0]
		default:
			return err
		}
	}
}

// closePostgres ends a connection without waiting long for a server that may be gone.
func closePostgres(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// explainMissing adds the cure to an error about tables that are not there.
func explainMissing(err error, schema string) error {
	server, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	switch server.Code {
	case "42P01", "3F000": // undefined table, undefined schema
		return fmt.Errorf("schema %q has no outbox: %s; run relay migrate up", schema, server.Message)
	case "42501":
		return fmt.Errorf("%s; the owner of schema %q grants what it takes: relay migrate up --grant-relay ROLE, or for a person migrations/grants/operator.sql",
			server.Message, schema)
	}
	return err
}
