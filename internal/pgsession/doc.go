// Package pgsession tells whether a connection to PostgreSQL has a session of its own, or shares server connections with
// others by the transaction.
package pgsession
