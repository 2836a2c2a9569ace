package connect

import (
	"context"
	"fmt"
	"maps"
	"net/url"

	"github.com/jackc/pgx/v5"
)

// Table is the SQL that makes Debezium's outbox table as its documentation shows it, with the payload as text, and a
// time for the header created_at.
const Table = `create table outboxevent (
	id uuid primary key default gen_random_uuid(),
	aggregatetype varchar(255) not null,
	aggregateid varchar(255) not null,
	type varchar(255) not null,
	payload text,
	created_at timestamptz not null default now())`

// OutboxConnector is the configuration of a connector that brings table outboxevent of a database to the topics that
// its column aggregatetype names: records with the headers id, type and created_at, as the relay's. It sees what is
// committed after it began. more wins.
func OutboxConnector(database, slot string, more map[string]string) (map[string]string, error) {
	u, err := url.Parse(database)
	if err != nil {
		return nil, fmt.Errorf("read the database's URL: %w", err)
	}
	password, _ := u.User.Password()
	if password == "" {
		password = "none" // the connector wants one, also from a server that does not ask
	}
	p := map[string]string{
		"connector.class":             "io.debezium.connector.postgresql.PostgresConnector",
		"tasks.max":                   "1",
		"database.hostname":           u.Hostname(),
		"database.port":               u.Port(),
		"database.user":               u.User.Username(),
		"database.password":           password,
		"database.dbname":             u.Path[1:],
		"topic.prefix":                slot,
		"plugin.name":                 "pgoutput",
		"slot.name":                   slot,
		"publication.name":            slot,
		"publication.autocreate.mode": "filtered",
		"table.include.list":          "public.outboxevent",
		"snapshot.mode":               "no_data",
		"tombstones.on.delete":        "false",
		"transforms":                  "outbox",
		"transforms.outbox.type":      "io.debezium.transforms.outbox.EventRouter",
		"transforms.outbox.route.topic.replacement":           "${routedByValue}",
		"transforms.outbox.table.fields.additional.placement": "type:header,created_at:header",
	}
	maps.Copy(p, more)
	return p, nil
}

// SlotActive waits until somebody reads a replication slot: from then on the connector of that slot sees each commit.
func SlotActive(ctx context.Context, db *pgx.Conn, slot string) error {
	for {
		var active bool
		err := db.QueryRow(ctx, "select exists (select from pg_replication_slots where slot_name = $1 and active)", slot).Scan(&active)
		if err != nil || active {
			return err
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("wait for a reader of slot %s: %w", slot, err)
		}
	}
}
