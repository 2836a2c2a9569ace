// Package migrate brings a schema of a database to the newest version of the outbox, and gives roles their rights.
//
// The promise: any number of [Up] may run at once, from anywhere; each migration is applied once, whole or not at all,
// and it makes no difference whether psql applied some of them before. A writer is never kept waiting behind a
// migration for more than two seconds: one that does not get its locks gives way and tries again.
//
// What it does not promise: a way back. Migrations go forward only, and a binary that is older than the schema leaves
// it alone and says so ([Step.Unknown]).
//
// goose runs the files. This package adds what goose leaves open: the schema itself, a lock that belongs to the
// schema, a record that a plain psql run writes too (migrations/0001_outbox.sql, relay_migrations), and errors that
// name the cure.
//
// It needs a session of its own, not one behind a pooler in transaction mode: search_path and the lock live in the
// session.
package migrate
