package migrate

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/outboxrelay/relay/migrations"
)

// GrantWriter lets the role insert events, naming the application's columns only: id, topic, key, type, payload,
// payload_bytes, headers, partition and deliver_at. It cannot read them back. The role must exist. Safe to run again.
//
// url, schema: as for [Up]; the URL's own role must own the schema or be a superuser.
func GrantWriter(ctx context.Context, url, schema, role string) error {
	return grant(ctx, url, schema, role, "writer")
}

// GrantRelay gives the role what `relay run` needs: to read events, to keep the relay's own tables, and to truncate
// slots of the ring. It owns nothing. The role must exist. Run it again after a migration that adds tables.
//
// url, schema: as for [Up]; the URL's own role must own the schema or be a superuser.
func GrantRelay(ctx context.Context, url, schema, role string) error {
	return grant(ctx, url, schema, role, "relay")
}

// grant runs migrations/grants/<kind>.sql, the file that psql users run, all of it or nothing.
func grant(ctx context.Context, url, schema, role, kind string) error {
	if role == "" {
		return fmt.Errorf("grant %s rights: the role has no name", kind)
	}
	text, err := fs.ReadFile(migrations.Grants, "grants/"+kind+".sql")
	if err != nil {
		return fmt.Errorf("read the %s rights: %w", kind, err)
	}
	db, err := open(url, schema)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := checkServer(ctx, db); err != nil {
		return err
	}
	// psql's :"name" is a quoted identifier, and that is what we put there.
	statements := strings.NewReplacer(`:"schema"`, quote(schema), `:"role"`, quote(role)).Replace(string(text))
	// Several statements in one message are one transaction.
	if _, err := db.ExecContext(ctx, statements); err != nil {
		err = fmt.Errorf("grant %s rights on schema %q to role %q: %w", kind, schema, role, err)
		switch sqlState(err) {
		case "42704": // undefined_object
			return fmt.Errorf("%w; make it first: create role %s login", err, quote(role))
		case "3F000", "42P01", "42883": // no schema, table or function
			return fmt.Errorf("%w; apply the migrations first: relay migrate up", err)
		}
		return explain(ctx, db, schema, err)
	}
	return nil
}
