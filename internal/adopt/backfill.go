package adopt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A batch is to take about so long: short enough to hold nothing up, long enough to be quick.
const (
	firstBatch  = 500
	largestStep = 20_000
	batchTime   = 300 * time.Millisecond
	// drainRounds bounds how often events that wait are moved before the switch, where writers bring new ones faster.
	drainRounds = 50
)

// Progress of a backfill.
type Progress struct {
	Rows    int64 // copied so far, over all runs
	Waiting int64 // events of newer rows that had waited and that this run has moved to the outbox
}

// Check maps every row that is there and keeps nothing: the error is that of the first that gives no event. A large table
// without an index for the walk is one, too. It returns how many rows there are.
func (p *Plan) Check(ctx context.Context, c *pgx.Conn) (rows int64, err error) {
	if err := p.checkIndex(ctx, c); err != nil {
		return 0, err
	}
	from := p.Source.Name + " n"
	var counted []string
	for i := range p.columns {
		counted = append(counted, fmt.Sprintf("count(x.c%d)", i))
	}
	values := make([]string, len(p.values))
	for i, value := range p.values {
		values[i] = fmt.Sprintf("%s as c%d", value, i)
	}
	query := fmt.Sprintf("select count(*), num_nulls(%s) from (select %s from %s cross join lateral (select %s as topic) t offset 0) x",
		strings.Join(counted, ", "), strings.Join(values, ", "), from, p.topic)
	var ignored int
	err = pgx.BeginTxFunc(ctx, c, committed, func(tx pgx.Tx) error {
		if err := p.sameTypes(ctx, tx); err != nil {
			return err
		}
		return tx.QueryRow(ctx, query).Scan(&rows, &ignored)
	})
	if err != nil {
		return 0, fmt.Errorf("look through %s: %w", p.Source.Name, err)
	}
	return rows, nil
}

// sameTypes keeps the columns as they are until the transaction ends. A type that the table's owner has made in the
// meantime would bring casts of his, which would run with the rights of whoever runs this.
func (p *Plan) sameTypes(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "lock table "+p.Source.Name+" in access share mode"); err != nil {
		return err
	}
	names := append(slices.Clone(p.bare), p.Source.Key...)
	types := make([]uint32, len(names))
	for i, name := range names {
		types[i] = p.Source.column(name).typeOID
	}
	var changed []string
	err := tx.QueryRow(ctx, `select coalesce(array_agg(distinct u.name), '{}') from unnest($2::text[], $3::oid[]) u(name, type)
		 where not exists (select from pg_catalog.pg_attribute a where a.attrelid = $1 and a.attname = u.name and a.atttypid = u.type)`,
		p.Source.OID, names, types).Scan(&changed)
	if err == nil && len(changed) > 0 {
		err = fmt.Errorf("the type of %s has changed meanwhile: the same command looks at the table anew", strings.Join(changed, ", "))
	}
	return err
}

// mostUnindexed is the size from which a walk needs an index: without one each batch looks through all of the table.
const mostUnindexed = 64 << 20

func (p *Plan) checkIndex(ctx context.Context, c *pgx.Conn) error {
	_, bytes, err := p.Source.Size(ctx, c)
	if err != nil || bytes < mostUnindexed {
		return err
	}
	indexed, err := p.Source.indexed(ctx, c, p.sortKey())
	if err != nil || indexed {
		return err
	}
	var quoted []string
	for _, name := range p.sortKey() {
		quoted = append(quoted, quote(name))
	}
	on := p.Source.Name
	if len(p.Source.Partitions) > 0 { // which takes none concurrently
		on = "each of its partitions"
	}
	return fmt.Errorf("no index of %[1]s begins with %[2]s, and each batch would look through the whole table: create index concurrently on %[4]s (%[3]s); it can be dropped afterwards",
		p.Source.Name, strings.Join(p.sortKey(), ", "), strings.Join(quoted, ", "), on)
}

// Begin adopts the table so that events of new rows wait: from here on the older rows are those that have none waiting.
// It locks as [Adopter.Install] does.
func (a *Adopter) Begin(ctx context.Context, p *Plan) error {
	err := a.inTurn(ctx, turn{table: p.Source.OID, lock: p.lock(), do: func(tx pgx.Tx) error {
		var no int64
		if err := tx.QueryRow(ctx, p.record("backfilling")+" returning adoption_no").Scan(&no); err != nil {
			return err
		}
		return execute(ctx, tx, append(p.function(no, false), p.triggers(nil)...))
	}})
	return p.explain(err)
}

// Backfill copies the rows that were there at Begin, then the events that waited, and then lets new rows give events
// at once. It goes on where an earlier run was; several at once take turns. tell is called after each batch.
func (a *Adopter) Backfill(ctx context.Context, p *Plan, no int64, tell func(Progress)) (done Progress, err error) {
	err = a.backfill(ctx, p, no, &done, tell)
	if errors.Is(err, errOver) {
		err = a.Conn.QueryRow(ctx, fmt.Sprintf("select backfilled from %s where adoption_no = $1", p.ours("adoptions")), no).Scan(&done.Rows)
	}
	return done, p.explain(err)
}

func (a *Adopter) backfill(ctx context.Context, p *Plan, no int64, done *Progress, tell func(Progress)) error {
	if err := a.walk(ctx, p, no, done, tell); err != nil {
		return err
	}
	return a.switchOver(ctx, p, no, done, tell)
}

// catchUp moves what waits to the outbox until little is left, or writers prove to be faster.
func (a *Adopter) catchUp(ctx context.Context, p *Plan, no int64, done *Progress, tell func(Progress)) error {
	for range drainRounds {
		var n int64
		err := a.step(ctx, p, no, func(tx pgx.Tx, _ stage) (err error) {
			limit := int64(largestStep)
			n, err = p.drain(ctx, tx, no, &limit)
			return err
		})
		if err != nil {
			return err
		}
		done.Waiting += n
		tell(*done)
		if n < firstBatch {
			break
		}
	}
	return nil
}

var (
	errOver  = errors.New("another relay adopt has finished the backfill")
	errEnded = errors.New("relay unadopt has ended the adoption meanwhile")
)

// stage is where a backfill is.
type stage struct {
	state    string
	position []string // of the last row copied; nil: of none
}

// byIndex pins the plans of a step: the older rows in their order, and for each a look into the index of those that wait.
// Of adopted_waiting, which was empty when it began, PostgreSQL knows nothing: it takes it for a handful of rows and compares
// each older row with each of them, which are thousands soon.
const byIndex = `set local enable_seqscan = off; set local enable_bitmapscan = off; set local enable_sort = off;
	set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_material = off`

// step runs do in a transaction with the adoption's row locked, so that two runs do not do the same. Who has locked the table
// first and wants that row is in a deadlock with it, of which one is ended.
func (a *Adopter) step(ctx context.Context, p *Plan, no int64, do func(tx pgx.Tx, at stage) error) error {
	for {
		err := pgx.BeginTxFunc(ctx, a.Conn, committed, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, byIndex); err != nil {
				return err
			}
			return p.take(ctx, tx, no, do)
		})
		if server, ok := errors.AsType[*pgconn.PgError](err); !ok || server.Code != deadlock {
			return err
		}
	}
}

func (p *Plan) take(ctx context.Context, tx pgx.Tx, no int64, do func(tx pgx.Tx, at stage) error) error {
	var at stage
	err := tx.QueryRow(ctx, fmt.Sprintf("select state, position, function from %s where adoption_no = $1 for update", p.ours("adoptions")), no).
		Scan(&at.state, &at.position, &p.Function)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return errEnded
	case err != nil:
		return err
	case at.state == "live":
		return errOver
	}
	return do(tx, at)
}

// walk copies the older rows.
func (a *Adopter) walk(ctx context.Context, p *Plan, no int64, done *Progress, tell func(Progress)) error {
	for limit := firstBatch; ; {
		began := time.Now()
		n, err := a.batch(ctx, p, no, limit, done)
		if err != nil || n == 0 {
			return err
		}
		tell(*done)
		switch took := time.Since(began); {
		case took < batchTime/2:
			limit = min(2*limit, largestStep)
		case took > 2*batchTime:
			limit = max(limit/2, 1)
		}
	}
}

// sortKey are the columns that order the rows one by one.
func (p *Plan) sortKey() []string {
	key := []string{p.OrderBy}
	for _, name := range p.Source.Key {
		if !slices.Contains(key, name) {
			key = append(key, name)
		}
	}
	return key
}

// batchSQL copies the next rows, $1 at most, behind the position in $2, and returns how many and the last one's.
func (p *Plan) batchSQL(no int64, first bool) string {
	var key, cast, text, descending []string
	for i, name := range p.sortKey() {
		column := "n." + quote(name)
		key, text, descending = append(key, column), append(text, column+"::text"), append(descending, column+" desc")
		kind := p.Source.column(name).Type
		if kind == "character" {
			kind = "bpchar" // by the other name it is one character long
		}
		cast = append(cast, fmt.Sprintf("($2::text[])[%d]::%s", i+1, kind))
	}
	behind := "$2::text[] is null"
	if !first {
		behind = fmt.Sprintf("(%s) > (%s)", strings.Join(key, ", "), strings.Join(cast, ", "))
	}
	return fmt.Sprintf(`with batch as materialized (
    select n.* from %[1]s n
     where %[2]s and not exists (select from %[3]s w where w.adoption_no = %[4]d and w.row_key = %[5]s)
     order by %[6]s limit $1),
copied as (
    insert into %[7]s (%[8]s)
    %[9]s
    returning 1)
select (select count(*) from copied), (select array[%[10]s] from batch n order by %[11]s limit 1)`,
		p.Source.Name, behind, p.ours("adopted_waiting"), no, p.rowKey(), strings.Join(key, ", "),
		p.ours("events"), strings.Join(p.columns, ", "), p.selection("batch n", strings.Join(key, ", ")),
		strings.Join(text, ", "), strings.Join(descending, ", "))
}

// batch copies at most limit rows, and writes down how far it is in the same transaction. When there are none left it
// says so there: as soon as one of the events that wait is gone from where they wait, its row looks like an older one.
func (a *Adopter) batch(ctx context.Context, p *Plan, no int64, limit int, done *Progress) (n int64, err error) {
	err = a.step(ctx, p, no, func(tx pgx.Tx, at stage) error {
		if at.state != "backfilling" {
			return nil
		}
		if err := p.sameTypes(ctx, tx); err != nil {
			return err
		}
		last := at.position
		if err := tx.QueryRow(ctx, p.batchSQL(no, last == nil), limit, last).Scan(&n, &last); err != nil {
			return err
		}
		state := at.state
		if n == 0 {
			state, last = "draining", nil
		}
		return tx.QueryRow(ctx, fmt.Sprintf(`update %s set state = $2, position = $3, backfilled = backfilled + $4, touched_at = clock_timestamp()
			where adoption_no = $1 returning backfilled`, p.ours("adoptions")), no, state, last, n).Scan(&done.Rows)
	})
	return n, err
}

// drain moves events that wait to the outbox, in their order, limit at most; nil: all. If the row of event A was
// committed before that of B was inserted, A has the lower number and is there to be seen whenever B is.
func (p *Plan) drain(ctx context.Context, tx pgx.Tx, no int64, limit *int64) (n int64, err error) {
	const columns = "id, topic, key, type, payload, payload_bytes, headers, partition, deliver_at"
	err = tx.QueryRow(ctx, fmt.Sprintf(`with moved as (
    delete from %[1]s where no in (select no from %[1]s where adoption_no = $1 order by no limit $2) returning no, %[3]s),
copied as (insert into %[2]s (%[3]s) select %[3]s from moved order by no returning 1)
select count(*) from copied`, p.ours("adopted_waiting"), p.ours("events"), columns), no, limit).Scan(&n)
	return n, err
}

// switchOver moves what still waits, and lets the trigger write to events from here on. Nobody writes to the table
// meanwhile, so no event can come to wait after it. Nor may they be kept out for long: while the lock is asked for more
// comes to wait, so that is moved before each try, and a try that finds much gives the lock back.
func (a *Adopter) switchOver(ctx context.Context, p *Plan, no int64, done *Progress, tell func(Progress)) error {
	var n int64
	most := int64(largestStep) // doubled with each try, for writers who are faster than catchUp
	err := a.inTurn(ctx, turn{table: p.Source.OID, lock: p.lock(),
		before: func(ctx context.Context) error { return a.catchUp(ctx, p, no, done, tell) },
		do: func(tx pgx.Tx) error {
			return p.take(ctx, tx, no, func(tx pgx.Tx, _ stage) (err error) {
				if n, err = p.drain(ctx, tx, no, &most); err != nil {
					return err
				}
				if n == most {
					most *= 2
					return errAgain
				}
				if err := execute(ctx, tx, p.function(0, true)); err != nil {
					return err
				}
				err = tx.QueryRow(ctx, fmt.Sprintf(`update %s set state = 'live', touched_at = clock_timestamp()
					where adoption_no = $1 returning backfilled`, p.ours("adoptions")), no).Scan(&done.Rows)
				if err != nil {
					return err
				}
				return a.operation(ctx, tx, p, "adopt", done.Rows)
			})
		}})
	if err == nil {
		done.Waiting += n
	}
	return err
}
