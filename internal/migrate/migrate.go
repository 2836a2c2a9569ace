package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/outboxrelay/relay/migrations"
)

// Step is one migration: a file of the migrations folder, or a version that only the database knows.
type Step struct {
	// Version is the number the file's name begins with.
	Version int64
	// Name is the file's name without its ending: 0001_outbox. It is empty when Unknown.
	Name string
	// Applied says that the database has it, by [Up] or by psql.
	Applied bool
	// AppliedAt is when it was applied, by the database's clock. It is zero when it was not.
	AppliedAt time.Time
	// Changed says that [Up] applied it with another text than this binary has.
	Changed bool
	// Unknown says that the database has it and this binary does not: a newer relay applied it.
	Unknown bool
	// Took is how long it took; only the steps that [Up] returns have it.
	Took time.Duration
}

// Up applies to the schema what it does not have yet, oldest first, and creates the schema if it is missing. It returns
// the steps that this call applied, also together with an error; none when there was nothing to do. progress, unless
// nil, is called after each of them.
//
// url is a libpq URL or key=value string; what it leaves out comes from the PG* variables, .pgpass and service files.
// schema is the schema's name as it is, not quoted. Up waits for another Up of the same schema until ctx is done.
func Up(ctx context.Context, url, schema string, progress func(Step)) (applied []Step, err error) {
	return up(ctx, migrations.FS, url, schema, progress)
}

func up(ctx context.Context, files fs.FS, url, schema string, progress func(Step)) (applied []Step, err error) {
	db, err := open(url, schema)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if err := checkServer(ctx, db); err != nil {
		return nil, err
	}
	sums, err := checksums(files)
	if err != nil {
		return nil, err
	}
	provider, err := goose.NewProvider(goose.DialectCustom, db, files,
		goose.WithStore(record{sums: sums}),
		goose.WithSessionLocker(locker{schema: schema}),
		goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	for _, source := range provider.ListSources() {
		results, err := givingWay(ctx, func() ([]*goose.MigrationResult, error) {
			return provider.UpTo(ctx, source.Version)
		})
		if err != nil {
			// goose's wrapping repeats in its words what ours says.
			var partial *goose.PartialError
			if errors.As(err, &partial) {
				err = partial.Err
			}
			return applied, explain(ctx, db, schema, fmt.Errorf("apply migration %s to schema %q: %w", stepName(source.Path), schema, err))
		}
		for _, result := range results {
			step := Step{
				Version:   result.Source.Version,
				Name:      stepName(result.Source.Path),
				Applied:   true,
				AppliedAt: time.Now(),
				Took:      result.Duration,
			}
			applied = append(applied, step)
			if progress != nil {
				progress(step)
			}
		}
	}
	return applied, nil
}

// Status returns every migration that this binary or the database knows, oldest first. It changes nothing, works on a
// standby, and needs no more than the relay's rights. A missing schema has no migration applied.
func Status(ctx context.Context, url, schema string) ([]Step, error) {
	db, err := open(url, schema)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	recorded, err := readRecord(ctx, db, schema)
	if err != nil {
		return nil, explain(ctx, db, schema, fmt.Errorf("read the migrations of schema %q: %w", schema, err))
	}
	return merge(migrations.FS, recorded)
}

// SQL returns the text of all migrations in their order, for people who apply them by other means. It names no schema:
// search_path picks it.
func SQL() string {
	var all strings.Builder
	for _, name := range fileNames(migrations.FS) {
		text, err := fs.ReadFile(migrations.FS, name)
		if err != nil { // an embedded file that fs.Glob has just found
			panic(err)
		}
		fmt.Fprintf(&all, "-- %s\n%s\n", name, text)
	}
	return all.String()
}

// fileNames lists the migration files. Names begin with four digits, so their order is that of the versions.
func fileNames(files fs.FS) []string {
	names, _ := fs.Glob(files, "*.sql") // fails only for a malformed pattern
	return names
}

func stepName(file string) string { return strings.TrimSuffix(path.Base(file), ".sql") }

// exists asks whether the schema has the relation. It reads the catalog, which anybody may, and not search_path, which
// hides what the role may not use.
func exists(ctx context.Context, db queryer, schema, relation string) (found bool, err error) {
	const query = `select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = $2)`
	err = db.QueryRowContext(ctx, query, schema, relation).Scan(&found)
	return found, err
}

// queryer is what *sql.DB, *sql.Conn and *sql.Tx share.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}
