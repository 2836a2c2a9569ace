package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/migrate"
	"github.com/outboxrelay/relay/internal/store"
)

const (
	oldestPostgres = 14_00_00
	// clockTolerance is more than any network takes, and less than what would show in lag figures.
	clockTolerance = 2 * time.Second
	// Topics of recent events: so many of the newest rows are looked at, and so many topics named.
	recentRows   = 10_000
	recentTopics = 50
)

// checkPostgres returns the topics of recent events.
func (c *checkup) checkPostgres(ctx context.Context, cfg *config.Config) []string {
	conn, err := connectPostgres(ctx, cfg, "check")
	if err != nil {
		c.fail("postgres", err.Error(), "")
		return nil
	}
	defer closePostgres(conn)
	if !c.checkServer(ctx, conn) || !c.checkSchema(ctx, cfg) {
		return nil
	}
	if _, err := conn.Exec(ctx, "set search_path to "+pgx.Identifier{cfg.Outbox.Schema}.Sanitize()); err != nil {
		c.fail("schema", err.Error(), "")
		return nil
	}
	if !c.checkRights(ctx, conn, cfg.Outbox.Schema) {
		return nil
	}
	c.checkMakers(ctx, conn, cfg.Outbox.Schema)
	c.checkCursor(ctx, conn, cfg.Outbox.Name)
	if err := store.CheckSequence(ctx, conn, store.In(cfg.Outbox.Schema)); err != nil {
		c.fail("sequence", err.Error(), "")
	} else {
		c.ok("sequence", "events_seq counts one by one")
	}
	c.checkAdopted(ctx, conn, cfg.Outbox.Schema)
	c.checkWake(ctx, conn, cfg.Outbox.Wake)
	c.checkClock(ctx, conn)
	rows, err := conn.Query(ctx, `
select distinct topic from (select topic from events order by seq desc limit $1) newest order by topic limit $2`,
		recentRows, recentTopics)
	if err == nil {
		var topics []string
		if topics, err = pgx.CollectRows(rows, pgx.RowTo[string]); err == nil {
			return topics
		}
	}
	c.fail("schema", "read the topics of recent events: "+explainMissing(err, cfg.Outbox.Schema).Error(), "")
	return nil
}

// checkServer returns false when it makes no sense to look further.
func (c *checkup) checkServer(ctx context.Context, conn *pgx.Conn) bool {
	const query = `
select current_setting('server_version_num')::int, split_part(current_setting('server_version'), ' ', 1), pg_is_in_recovery(),
       current_database(), current_user, current_setting('fsync') = 'on', current_setting('synchronous_commit') <> 'off'`
	var number int
	var version, database, user string
	var recovery, fsync, waits bool
	if err := conn.QueryRow(ctx, query).Scan(&number, &version, &recovery, &database, &user, &fsync, &waits); err != nil {
		c.fail("postgres", "ask the server about itself: "+err.Error(), "")
		return false
	}
	c.database = database
	encrypted := "not encrypted"
	if _, isTLS := conn.PgConn().Conn().(interface{ HandshakeContext(context.Context) error }); isTLS {
		encrypted = "encrypted"
	}
	where := place(&conn.Config().Config)
	switch {
	case number < oldestPostgres:
		c.fail("postgres", fmt.Sprintf("PostgreSQL %s at %s is too old", version, where), "the outbox needs 14 or newer")
		return false
	case recovery:
		c.fail("postgres", fmt.Sprintf("the server at %s is a standby in recovery", where),
			"name the primary, or all hosts with target_session_attrs=read-write")
		return false
	}
	c.ok("postgres", "PostgreSQL %s at %s, database %s, role %s, %s", version, where, database, user, encrypted)
	if !fsync {
		c.warn("postgres", "fsync is off: a crash of the server can lose committed events", "set fsync = on, except on a server for tests")
	}
	if !waits {
		c.warn("postgres", "synchronous_commit is off: commits are seen before they are on disk, so a crash of the server can take back a change whose event is in Kafka",
			"set synchronous_commit = on, at least for the roles that write events")
	}
	return true
}

func (c *checkup) checkSchema(ctx context.Context, cfg *config.Config) bool {
	url, err := cfg.Postgres.ConnString()
	if err != nil {
		c.fail("schema", err.Error(), "")
		return false
	}
	steps, err := migrate.Status(ctx, url, cfg.Outbox.Schema)
	if err != nil {
		c.fail("schema", err.Error(), "")
		return false
	}
	applied, missing := 0, 0
	for _, step := range steps {
		switch {
		case step.Unknown:
			c.warn("schema", fmt.Sprintf("migration %04d is unknown to this relay: a newer one applied it", step.Version), "run the newer relay")
		case !step.Applied:
			missing++
		case step.Changed:
			c.warn("schema", fmt.Sprintf("migration %s was applied with another text than this relay has", step.Name), "compare with relay migrate sql")
			applied++
		default:
			applied++
		}
	}
	if missing > 0 {
		c.fail("schema", fmt.Sprintf("schema %s lacks %s", cfg.Outbox.Schema, count(missing, "migration")), "relay migrate up")
		return false
	}
	c.ok("schema", "schema %s has all migrations (%d)", cfg.Outbox.Schema, applied)
	return true
}

// checkRights compares what the role may with what migrations/grants/relay.sql gives.
func (c *checkup) checkRights(ctx context.Context, conn *pgx.Conn, schema string) bool {
	var user string
	var superuser, usage bool
	err := conn.QueryRow(ctx, "select current_user, current_setting('is_superuser') = 'on', has_schema_privilege($1, 'USAGE')", schema).
		Scan(&user, &superuser, &usage)
	if err != nil {
		c.fail("rights", "ask for the rights of the role: "+err.Error(), "")
		return false
	}
	cure := fmt.Sprintf("as the schema's owner: relay migrate up --grant-relay %s", user)
	if !usage {
		c.fail("rights", fmt.Sprintf("role %s may not use schema %s", user, schema), cure)
		return false
	}
	missing, err := migrate.MissingRelayRights(ctx, conn, schema)
	switch {
	case err != nil:
		c.fail("rights", err.Error(), "")
		return false
	case len(missing) > 0:
		c.fail("rights", fmt.Sprintf("role %s lacks %s", user, strings.Join(missing, ", ")), cure)
		return false
	case superuser:
		c.warn("rights", fmt.Sprintf("role %s is a superuser, which the relay does not need", user),
			"make a role of its own: create role relay login; relay migrate up --grant-relay relay")
	default:
		c.ok("rights", "role %s may do what the relay needs", user)
	}
	return true
}

// checkCursor looks whether the cursor was made on this server: the relay refuses one that came with a dump.
// checkMakers looks who may make functions in the schema: one that fits a call better than PostgreSQL's own of that name would
// run with the rights of the outbox's owner. In schema public that was everybody before PostgreSQL 15.
func (c *checkup) checkMakers(ctx context.Context, conn *pgx.Conn, schema string) {
	const query = `
select coalesce(string_agg(case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end, ', ' order by a.grantee), '')
  from pg_catalog.pg_namespace n, aclexplode(n.nspacl) a, pg_catalog.pg_class e
 where n.nspname = $1 and e.oid = to_regclass(format('%I.events', $1::text)) and a.privilege_type = 'CREATE' and a.grantee <> n.nspowner
   and case a.grantee when 0 then true else not pg_has_role(a.grantee, e.relowner, 'member') end`
	var makers string
	switch err := conn.QueryRow(ctx, query, schema).Scan(&makers); {
	case err != nil:
		c.fail("schema", "ask who may make functions: "+err.Error(), "")
	case makers != "":
		c.warn("schema", fmt.Sprintf("others than the owner may make functions in schema %s, which could run with the owner's rights: %s", schema, makers),
			fmt.Sprintf("revoke create on schema %s from %s", pgx.Identifier{schema}.Sanitize(), makers))
	}
}

func (c *checkup) checkCursor(ctx context.Context, conn *pgx.Conn, name string) {
	const query = `
select coalesce((select r.system_identifier from relays r where r.name = $1), s.system_identifier::text) = s.system_identifier::text,
       coalesce((select r.last_error from relays r where r.name = $1), '')
  from pg_control_system() s`
	var here bool
	var last string
	switch err := conn.QueryRow(ctx, query, name).Scan(&here, &last); {
	case err != nil:
		c.fail("cursor", "ask where the cursor belongs: "+err.Error(), "grant execute on function pg_control_system() to the relay's role")
	case !here:
		c.fail("cursor", fmt.Sprintf("the cursor of outbox %s was made on another server: a dump was restored here, or pg_upgrade was run", name),
			"the relay waits rather than guess: relay rebase; see docs/restore.md")
	case last != "":
		c.warn("cursor", "the relay noted: "+readable([]byte(last), false), "see docs/operations/failover.md; relay status shows when")
	default:
		c.ok("cursor", "outbox %s is of this server", name)
	}
}

// checkWake says which way of waking is used. A transaction that has rung the doorbell cannot be prepared.
func (c *checkup) checkWake(ctx context.Context, conn *pgx.Conn, wake string) {
	var prepared int
	err := conn.QueryRow(ctx, "select current_setting('max_prepared_transactions')::int").Scan(&prepared)
	switch {
	case err != nil:
		c.fail("wake", "ask for max_prepared_transactions: "+err.Error(), "")
	case wake == config.WakePoll:
		c.ok("wake", `polls, as outbox.wake = "poll" says`)
	case wake == config.WakeListen && prepared > 0:
		c.warn("wake", fmt.Sprintf("outbox.wake is \"listen\" and max_prepared_transactions is %d: PREPARE TRANSACTION fails for a transaction that wakes the relay", prepared),
			`set outbox.wake = "poll", or max_prepared_transactions = 0`)
	case wake == config.WakeListen:
		c.ok("wake", `listens, as outbox.wake = "listen" says`)
	case prepared > 0:
		c.ok("wake", "polls, because max_prepared_transactions is %d", prepared)
	default:
		c.ok("wake", "listens, because nothing can be prepared (max_prepared_transactions is 0)")
	}
}

// checkClock compares the database's clock with ours in the middle of the round trip. Leases use the database's clock
// alone; ours is in log lines and delivery times.
func (c *checkup) checkClock(ctx context.Context, conn *pgx.Conn) {
	before := time.Now()
	var theirs time.Time
	if err := conn.QueryRow(ctx, "select clock_timestamp()").Scan(&theirs); err != nil {
		c.fail("clock", "ask for the server's time: "+err.Error(), "")
		return
	}
	middle := before.Add(time.Since(before) / 2)
	skew := theirs.Sub(middle).Round(time.Millisecond)
	if skew.Abs() > clockTolerance {
		c.warn("clock", fmt.Sprintf("PostgreSQL's clock is %s from ours: log lines and lag will not match", skew), "run NTP on both machines")
		return
	}
	c.ok("clock", "within %s of PostgreSQL's", clockTolerance)
}
