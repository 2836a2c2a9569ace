package rig

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/migrate"
)

// Site is one run's database, with an outbox in it, and one run's topic.
type Site struct {
	*Rig
	Database string
	URL      string
	Topic    string
	DB       *pgx.Conn // for questions: not from many goroutines
}

// Site makes one.
func (r *Rig) Site(ctx context.Context, partitions int32) (*Site, error) {
	s := &Site{Rig: r, Database: fmt.Sprintf("bench_%d", r.serial.Add(1))}
	s.URL = r.Postgres.URL(s.Database)
	err := r.asSuperuser(ctx, "create database "+s.Database)
	if err == nil {
		_, err = migrate.Up(ctx, s.URL, "outbox", nil)
	}
	if err == nil {
		s.DB, err = pgx.Connect(ctx, s.URL)
	}
	if err == nil {
		s.Topic, err = r.Topic(ctx, partitions)
	}
	if err != nil {
		return nil, fmt.Errorf("make a database and a topic: %w", err)
	}
	return s, nil
}

// Close drops the database and the topic, whoever still uses them, so that a later run finds the disk as this one did.
func (s *Site) Close(ctx context.Context) error {
	s.DB.Close(ctx)
	return errors.Join(s.asSuperuser(ctx, "drop database if exists "+s.Database+" with (force)"), s.drop(ctx, s.Topic))
}

func (r *Rig) asSuperuser(ctx context.Context, sql string) error {
	c, err := pgx.Connect(ctx, r.Postgres.URL("postgres"))
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	if _, err := c.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// Ask runs a query that gives one number.
func (s *Site) Ask(ctx context.Context, query string, args ...any) (n int64, err error) {
	if err := s.DB.QueryRow(ctx, query, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("ask PostgreSQL: %w", err)
	}
	return n, nil
}

// WAL is PostgreSQL's position in its write-ahead log, in bytes.
func (s *Site) WAL(ctx context.Context) (int64, error) {
	return s.Ask(ctx, "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")
}

// Stored is how many offsets of the topic a consumer of committed records may read up to, markers of transactions
// included.
func (s *Site) Stored(ctx context.Context) (n int64, err error) {
	listed, err := s.Admin.ListCommittedOffsets(ctx, s.Topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the end of topic %s: %w", s.Topic, err)
	}
	for _, partition := range listed[s.Topic] {
		n += max(0, partition.Offset)
	}
	return n, nil
}
