package migrate

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// record is the table relay_migrations as goose sees it. The first migration makes the table and every migration
// records itself, so that one applied by psql counts; what goose adds is the checksum of the text it ran.
type record struct {
	sums map[int64]string // version → checksum; read only
}

const recordTable = "relay_migrations"

func (record) Tablename() string { return recordTable }

// TableExists claims that it does: 0001_outbox.sql makes it, and until then there is nothing to read.
func (record) TableExists(context.Context, database.DBTxConn) (bool, error) { return true, nil }

// CreateVersionTable has nothing to do; see TableExists.
func (record) CreateVersionTable(context.Context, database.DBTxConn) error { return nil }

// Insert runs in the migration's own transaction.
func (r record) Insert(ctx context.Context, db database.DBTxConn, request database.InsertRequest) error {
	_, err := db.ExecContext(ctx, `insert into relay_migrations (version, checksum) values ($1, $2)
on conflict (version) do update set checksum = excluded.checksum`, request.Version, r.sums[request.Version])
	return err
}

// Delete is goose's way back, which nobody here takes.
func (record) Delete(context.Context, database.DBTxConn, int64) error {
	return fmt.Errorf("take a migration back: %w", database.ErrNotImplemented)
}

// GetMigration is asked only where the table's existence is not known; see TableExists.
func (record) GetMigration(context.Context, database.DBTxConn, int64) (*database.GetMigrationResult, error) {
	return nil, database.ErrNotImplemented
}

// GetLatestVersion returns 0 for a schema without migrations.
func (r record) GetLatestVersion(ctx context.Context, db database.DBTxConn) (int64, error) {
	list, err := r.ListMigrations(ctx, db)
	if err != nil {
		return 0, err
	}
	return list[0].Version, nil
}

// ListMigrations returns the newest first, and last the version 0 that goose expects.
func (record) ListMigrations(ctx context.Context, db database.DBTxConn) ([]*database.ListMigrationsResult, error) {
	zero := &database.ListMigrationsResult{Version: 0, IsApplied: true}
	var there bool
	// The runner's search_path is the schema alone, so this finds no table of another.
	if err := db.QueryRowContext(ctx, `select to_regclass('relay_migrations') is not null`).Scan(&there); err != nil {
		return nil, err
	}
	if !there {
		return []*database.ListMigrationsResult{zero}, nil
	}
	rows, err := db.QueryContext(ctx, `select version from relay_migrations order by version desc`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*database.ListMigrationsResult
	for rows.Next() {
		entry := &database.ListMigrationsResult{IsApplied: true}
		if err := rows.Scan(&entry.Version); err != nil {
			return nil, err
		}
		list = append(list, entry)
	}
	return append(list, zero), rows.Err()
}

// recorded is a row of relay_migrations.
type recorded struct {
	version   int64
	checksum  sql.NullString // null when psql applied it
	appliedAt time.Time
}

func readRecord(ctx context.Context, db queryer, schema string) ([]recorded, error) {
	there, err := exists(ctx, db, schema, recordTable)
	if err != nil || !there {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, `select version, checksum, applied_at from `+quote(schema)+`.relay_migrations order by version`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []recorded
	for rows.Next() {
		var r recorded
		if err := rows.Scan(&r.version, &r.checksum, &r.appliedAt); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// merge lists the files, with what the database knows of them, and then what only the database knows.
func merge(files fs.FS, known []recorded) ([]Step, error) {
	sums, err := checksums(files)
	if err != nil {
		return nil, err
	}
	byVersion := make(map[int64]recorded, len(known))
	for _, r := range known {
		byVersion[r.version] = r
	}
	var steps []Step
	for _, name := range fileNames(files) {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return nil, fmt.Errorf("read the name of migration %s: %w", name, err)
		}
		step := Step{Version: version, Name: stepName(name)}
		if r, ok := byVersion[version]; ok {
			step.Applied, step.AppliedAt = true, r.appliedAt
			step.Changed = r.checksum.Valid && r.checksum.String != sums[version]
			delete(byVersion, version)
		}
		steps = append(steps, step)
	}
	for _, r := range known {
		if _, left := byVersion[r.version]; left {
			steps = append(steps, Step{Version: r.version, Applied: true, AppliedAt: r.appliedAt, Unknown: true})
		}
	}
	return steps, nil
}

// checksums maps a version to the SHA-256 of its file. Line ends do not count: a checkout on another system has others.
func checksums(files fs.FS) (map[int64]string, error) {
	sums := make(map[int64]string)
	for _, name := range fileNames(files) {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return nil, fmt.Errorf("read the name of migration %s: %w", name, err)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", name, err)
		}
		sum := sha256.Sum256([]byte(strings.ReplaceAll(string(text), "\r\n", "\n")))
		sums[version] = hex.EncodeToString(sum[:])
	}
	return sums, nil
}
