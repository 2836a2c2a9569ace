// Package importcheck has only tests. They keep the promise that a program which imports package outbox gets pgx and
// the standard library, and no Kafka library, no C compiler and nothing of the daemon's.
package importcheck
