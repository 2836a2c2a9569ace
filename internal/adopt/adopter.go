package adopt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outboxrelay/relay/internal/store"
)

// committed is said, because a server or a role may have another default: what is seen after a lock was granted is what
// others had committed by then.
var committed = pgx.TxOptions{IsoLevel: pgx.ReadCommitted}

// Settings of the session: text of positions and keys as in the trigger function; no row of the table hidden by a
// policy (PostgreSQL fails instead); and no limit for a look through a large table.
const sessionSettings = `set timezone = 'UTC'; set datestyle = 'ISO'; set row_security = off; set jit = off;
	set intervalstyle = 'postgres'; set bytea_output = 'hex'; set extra_float_digits = 1; set lc_monetary = 'C';
	set statement_timeout = 0; set idle_in_transaction_session_timeout = 0;
	select set_config(name, '0', false) from pg_settings where name = 'transaction_timeout'`

// Adopter changes the database, as the owner of the outbox's schema who also owns the table.
type Adopter struct {
	Conn *pgx.Conn
	// Waits, if not nil, is told each time that the lock was not granted, and who holds it.
	Waits func(holder string)
	// Note is added to the record in operations.
	Note map[string]string
}

// Open makes an Adopter of a connection that nobody else uses.
func Open(ctx context.Context, c *pgx.Conn) (*Adopter, error) {
	if _, err := c.Exec(ctx, sessionSettings); err != nil {
		return nil, fmt.Errorf("prepare the session: %w", err)
	}
	return &Adopter{Conn: c}, nil
}

func execute(ctx context.Context, tx pgx.Tx, statements []string) error {
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// Install adopts the table: rows that commit after it give events. It waits until all that have written to the table
// have ended their transactions, and lets nobody write in between.
func (a *Adopter) Install(ctx context.Context, p *Plan) error {
	err := a.inTurn(ctx, turn{table: p.Source.OID, lock: p.lock(), do: func(tx pgx.Tx) error {
		if err := execute(ctx, tx, p.install()); err != nil {
			return err
		}
		return a.operation(ctx, tx, p, "adopt", 0)
	}})
	return p.explain(err)
}

// Replace gives an adopted table another map, and triggers where they are missing or disabled. All rows of a statement
// go by the one map or by the other.
func (a *Adopter) Replace(ctx context.Context, p *Plan, old *Adoption) error {
	p.Function = old.function
	m, err := json.Marshal(p.Map)
	if err != nil {
		return err
	}
	err = a.inTurn(ctx, turn{table: p.Source.OID, lock: p.lock(), do: func(tx pgx.Tx) error {
		switch now, err := still(ctx, tx, p.Schema, old.No); {
		case err != nil:
			return err
		case now != "live":
			return ErrUnfinished
		}
		if err := p.anew(ctx, tx, 0); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, fmt.Sprintf(`update %s set map = $2, order_by = nullif($3, ''), source_name = $4, touched_at = clock_timestamp()
			where adoption_no = $1`, p.ours("adoptions")), old.No, string(m), p.OrderBy, p.Source.Name)
		if err != nil {
			return err
		}
		return a.operation(ctx, tx, p, "adopt", 0)
	}})
	return p.explain(err)
}

// Refresh makes the trigger function and the triggers of a backfill that is not over anew, as this relay makes them for the
// table as it is now. The map, the order and the key have to be the same.
func (a *Adopter) Refresh(ctx context.Context, p *Plan, old *Adoption) error {
	p.Function = old.function
	err := a.inTurn(ctx, turn{table: p.Source.OID, lock: p.lock(), do: func(tx pgx.Tx) error {
		switch now, err := still(ctx, tx, p.Schema, old.No); {
		case err != nil:
			return err
		case now == "live":
			return errOver
		}
		return p.anew(ctx, tx, old.No)
	}})
	if errors.Is(err, errOver) {
		err = nil
	}
	return p.explain(err)
}

// anew makes function and triggers. CREATE OR REPLACE TRIGGER forgets ENABLE ALWAYS, with which replicated rows give events.
func (p *Plan) anew(ctx context.Context, tx pgx.Tx, holding int64) error {
	rows, _ := tx.Query(ctx, `select format('alter table %s enable always trigger %I', tgrelid::regclass, tgname) from pg_catalog.pg_trigger
		where tgfoid = to_regprocedure($1)::oid and tgenabled = 'A'`, p.ours(p.Function)+"()")
	always, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	return execute(ctx, tx, slices.Concat(p.function(holding, true), p.triggers(nil), always))
}

// InPublication says whether the table is one that a publication names.
func (a *Adopter) InPublication(ctx context.Context, p *Plan, publication string) (in bool, err error) {
	err = a.Conn.QueryRow(ctx, `select exists (select from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid
		where p.pubname = $1 and r.prrelid = $2)`, publication, p.Source.OID).Scan(&in)
	if err != nil {
		err = fmt.Errorf("look at publication %s: %w", publication, err)
	}
	return in, err
}

// still gives the state of an adoption, and keeps it until the transaction ends: what was found before the lock was granted
// may be another adoption of the table by now, or none.
func still(ctx context.Context, tx pgx.Tx, schema string, no int64) (state string, err error) {
	err = tx.QueryRow(ctx, fmt.Sprintf("select state from %s where adoption_no = $1 for update", pgx.Identifier{schema, "adoptions"}.Sanitize()), no).Scan(&state)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errEnded
	}
	return state, err
}

// Repair makes the triggers that are missing or disabled, and returns the tables they were made for. Rows that came in
// while there was no trigger give no events.
func (a *Adopter) Repair(ctx context.Context, p *Plan, old *Adoption) (tables []string, err error) {
	p.Function = old.function
	const query = `
select format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.oid = any (array[$1::oid] || array(select relid::oid from pg_catalog.pg_partition_tree($1::oid::regclass))) and c.relkind <> 'f'
   and not exists (select from pg_catalog.pg_trigger g where g.tgrelid = c.oid and g.tgfoid = to_regprocedure($2)::oid and g.tgenabled in ('O', 'A'))
 order by c.oid`
	rows, _ := a.Conn.Query(ctx, query, p.Source.OID, p.ours(p.Function)+"()")
	if tables, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(tables) == 0 {
		return nil, err
	}
	err = a.inTurn(ctx, turn{table: p.Source.OID, lock: p.lock(), do: func(tx pgx.Tx) error {
		if _, err := still(ctx, tx, p.Schema, old.No); err != nil {
			return err
		}
		return execute(ctx, tx, p.triggers(tables))
	}})
	return tables, p.explain(err)
}

// ErrUnfinished says that a backfill has begun and is not over.
var ErrUnfinished = errors.New("the backfill is not over")

// Remove ends an adoption. Events that are in the outbox stay and are delivered. With a backfill that is not over it is
// ErrUnfinished, unless abandon: then events that wait for it go to the outbox, and rows it has not come to give none.
// It returns how many waited.
func (a *Adopter) Remove(ctx context.Context, schema string, old *Adoption, abandon bool) (waited int64, err error) {
	lock := "select 1"
	if old.oid != 0 {
		var name *string
		err := a.Conn.QueryRow(ctx, `select (select format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c
			join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = $1)`, old.oid).Scan(&name)
		if err != nil {
			return 0, fmt.Errorf("look for table %s: %w", old.Table, err)
		}
		if name != nil { // DROP TRIGGER takes it too, but after the look at what waits
			lock = "lock table " + *name + " in access exclusive mode"
		}
	}
	err = a.inTurn(ctx, turn{table: old.oid, lock: lock, readers: true, do: func(tx pgx.Tx) error {
		switch now, err := still(ctx, tx, schema, old.No); {
		case err != nil:
			return err
		case now != "live" && !abandon:
			return ErrUnfinished
		}
		p := &Plan{Schema: schema, Source: &Source{Name: old.Table}}
		if waited, err = p.drain(ctx, tx, old.No, nil); err != nil {
			return err
		}
		if err := a.remove(ctx, tx, schema, old); err != nil {
			return err
		}
		return a.operation(ctx, tx, p, "unadopt", waited)
	}})
	if err != nil {
		return 0, fmt.Errorf("unadopt %s: %w", old.Table, explainOwner(err, schema))
	}
	return waited, nil
}

// remove takes triggers, function and record away.
func (a *Adopter) remove(ctx context.Context, tx pgx.Tx, schema string, old *Adoption) error {
	function := pgx.Identifier{schema, old.function}.Sanitize() + "()"
	rows, _ := tx.Query(ctx, `select format('drop trigger %I on %s', tgname, tgrelid::regclass) from pg_catalog.pg_trigger
		where tgfoid = to_regprocedure($1)::oid`, function)
	drops, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if err := execute(ctx, tx, append(drops, "drop function if exists "+function)); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, fmt.Sprintf("delete from %s where adoption_no = $1", pgx.Identifier{schema, "adoptions"}.Sanitize()), old.No)
	return err
}

// operation leaves the record that people find in operations.
func (a *Adopter) operation(ctx context.Context, tx pgx.Tx, p *Plan, verb string, events int64) error {
	detail := map[string]string{"table": p.Source.Name}
	maps.Copy(detail, a.Note)
	if err := store.LockOperations(ctx, tx, p.ours("operations")); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, fmt.Sprintf("insert into %s (verb, events, detail) values ($1, $2, $3)", p.ours("operations")), verb, events, detail)
	return err
}

func (p *Plan) explain(err error) error {
	if err == nil {
		return nil
	}
	if server, ok := errors.AsType[*pgconn.PgError](err); ok && (server.Code == "42723" || server.ConstraintName == "adoptions_source") { // duplicate_function
		err = fmt.Errorf("somebody else has just adopted it, and the same command tells how it is now: %w", err)
	}
	return fmt.Errorf("adopt %s: %w", p.Source.Name, explainOwner(err, p.Schema))
}

// explainOwner adds the cure for a right that is missing.
func explainOwner(err error, schema string) error {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok && server.Code == "42501" {
		return fmt.Errorf("%w: run it as the owner of schema %s who also owns the table", err, schema)
	}
	return err
}
