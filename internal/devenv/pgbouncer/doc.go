// Package pgbouncer runs a private PgBouncer in front of a PostgreSQL of package postgres, for tests.
//
// It listens on a free port of 127.0.0.1 and lets everybody in as user postgres, without a password. Root is dropped,
// because PgBouncer refuses it. Nothing of it survives the program that called [Start] (see package process).
package pgbouncer
