// Package migrations holds the outbox's schema as plain SQL, embedded.
//
// The files run in the order of their names, with goose (internal/migrate does that for `relay migrate up`), with
// psql or with any other tool. Each of them
//
//   - names its tables without a schema: search_path picks it;
//   - can be run again, also after later files have run, and then changes nothing and waits for nobody;
//   - goes forward only; a file that was released is never edited, a new one follows it;
//   - records its version in relay_migrations in its last statement, so that whoever ran it, the record is there.
//
// What a new file must keep in mind for that:
//
//   - A view is made only where it is missing: "create or replace view" in an old file fails on, or takes back, what a
//     later one made of it. For a function that operators call "create or replace" will do, because the later file
//     runs again too; not for one that inserts call.
//   - An index is looked for before it is made: "create index if not exists" waits for all writers even when it then
//     does nothing.
package migrations

import "embed"

// FS holds the migrations, one file a version: 0001_outbox.sql and so on. Read only.
//
//go:embed *.sql
var FS embed.FS

// Grants holds what each kind of role needs: grants/writer.sql, relay.sql, operator.sql and consumer.sql. They take the
// psql variables schema and role, and are not migrations. Read only.
//
//go:embed grants/*.sql
var Grants embed.FS
