package adopt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Adoption is a table that is adopted, as the outbox has it on record.
type Adoption struct {
	No         int64     `json:"-"`
	Table      string    `json:"table"` // its name now
	Map        Map       `json:"map"`
	OrderBy    *string   `json:"order_by"` // null: the order in which rows come
	State      string    `json:"state"`    // backfilling, draining, live
	Backfilled *int64    `json:"backfilled"`
	At         time.Time `json:"at"`

	function string
	oid      uint32 // of the table; of none when that was dropped
}

// Unfinished says that older rows, or events that waited for them, are still to be copied.
func (a *Adoption) Unfinished() bool { return a.State != "live" }

// Find looks for the adoption of the table that has this name now. nil: there is none.
func Find(ctx context.Context, c *pgx.Conn, schema, table string) (*Adoption, error) {
	return find(ctx, c, schema, table, "source = to_regclass($1)")
}

// FindFormer looks for the adoption of a table that had this name when it was adopted, and is gone or has another name while
// no table has this one. nil: there is none.
func FindFormer(ctx context.Context, c *pgx.Conn, schema, table string) (*Adoption, error) {
	return find(ctx, c, schema, table, `source_name = $1
		and (to_regclass($1) is null or not exists (select from pg_catalog.pg_class where oid = source::oid))`)
}

// nameNow is the adopted table's name, as SQL; of one that is gone, that which it had when it was adopted.
const nameNow = `coalesce((select format('%%I.%%I', n.nspname, c.relname) from pg_catalog.pg_class c
	join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = source::oid), source_name)`

func find(ctx context.Context, c *pgx.Conn, schema, table, which string) (*Adoption, error) {
	rows, _ := c.Query(ctx, fmt.Sprintf(`select adoption_no, `+nameNow+`, map::text, order_by, state, backfilled, at, function, source::oid
		  from %s where %s order by adoption_no limit 1`, pgx.Identifier{schema, "adoptions"}.Sanitize(), which), table)
	a, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (a Adoption, err error) {
		var text string
		if err = row.Scan(&a.No, &a.Table, &text, &a.OrderBy, &a.State, &a.Backfilled, &a.At, &a.function, &a.oid); err == nil {
			err = json.Unmarshal([]byte(text), &a.Map)
		}
		return a, err
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for the adoption of %s: %w", table, err)
	}
	return &a, nil
}

// Differences says, a line each, how the plan differs from what was asked for, and in function, unless it is "", how the
// trigger function differs from what this relay makes of it. It makes the plan keep the function's name.
func (a *Adoption) Differences(ctx context.Context, c *pgx.Conn, p *Plan) (lines []string, function string, err error) {
	p.Function = a.function
	lines = a.Map.Differences(p.Map)
	order := func(name string) string {
		if name == "" {
			return "arrival"
		}
		return name
	}
	installed := ""
	if a.OrderBy != nil {
		installed = *a.OrderBy
	}
	if installed != p.OrderBy {
		lines = append(lines, fmt.Sprintf("order: by %s, not by %s", order(installed), order(p.OrderBy)))
	}
	var body *string
	err = c.QueryRow(ctx, `select (select prosrc from pg_catalog.pg_proc where oid = to_regprocedure($1))`,
		pgx.Identifier{p.Schema, a.function}.Sanitize()+"()").Scan(&body)
	if err != nil {
		return nil, "", fmt.Errorf("look at the trigger function: %w", err)
	}
	holding := int64(0)
	if a.Unfinished() {
		holding = a.No
	}
	switch {
	case body == nil:
		function = "the trigger function is not there"
	case holding != 0 && !strings.Contains(*body, p.rowKey()):
		lines = append(lines, "key: not what tells the events that wait from the older rows")
	case *body != p.body(holding):
		function = "the trigger function is another than this relay makes for the table as it is now"
	}
	return lines, function, nil
}

// Fault is something about an adopted table that lets rows pass by, or will.
type Fault struct {
	Table   string
	Problem string
	Loses   bool // rows that are inserted now become no events
	Cure    string
}

// Adopted lists the adopted tables, and what is wrong with them. It needs no more than the relay's rights.
func Adopted(ctx context.Context, c *pgx.Conn, schema string) (tables []string, faults []Fault, err error) {
	rows, _ := c.Query(ctx, fmt.Sprintf(`
with a as (
    select a.*, c.oid as there, to_regprocedure(format('%%I.%%I()', $1::text, a.function))::oid as trigger_function
      from %[1]s a left join pg_catalog.pg_class c on c.oid = a.source::oid)
select `+nameNow+`, a.state, a.there is not null, clock_timestamp() - a.touched_at > '1 minute',
       array(select t.oid::regclass::text from pg_catalog.pg_class t
              where t.oid = any (array[a.there] || array(select relid from pg_catalog.pg_partition_tree(a.there::regclass))) and t.relkind <> 'f'
                and not exists (select from pg_catalog.pg_trigger g where g.tgrelid = t.oid and g.tgfoid = a.trigger_function) order by 1),
       array(select g.tgrelid::regclass::text from pg_catalog.pg_trigger g where g.tgfoid = a.trigger_function and g.tgenabled not in ('O', 'A') order by 1),
       a.there = any (array(select g.tgrelid from pg_catalog.pg_trigger g where g.tgfoid = a.trigger_function)),
       array(select g.tgrelid::regclass::text from pg_catalog.pg_trigger g where g.tgfoid = a.trigger_function
              and g.tgrelid <> all (array[a.there] || array(select relid::oid from pg_catalog.pg_partition_tree(a.there::regclass))) order by 1),
       exists (select from pg_catalog.pg_class c, pg_catalog.pg_class e, pg_catalog.pg_proc f
                where c.oid = a.there and e.oid = to_regclass(format('%%I.events', $1::text)) and f.oid = a.trigger_function
                  and not pg_has_role(c.relowner, e.relowner, 'member') and strpos(f.prosrc, 'atttypid >= %[2]s') = 0)
  from a order by 1`, pgx.Identifier{schema, "adoptions"}.Sanitize(), firstOwn), schema)
	var name, state string
	var there, idle, open bool
	var bare, disabled, outside []string
	var main *bool
	_, err = pgx.ForEachRow(rows, []any{&name, &state, &there, &idle, &bare, &disabled, &main, &outside, &open}, func() error {
		tables = append(tables, name)
		again := "relay adopt " + name + " with its --map makes the triggers that are missing; rows that came meanwhile are not copied"
		switch {
		case !there:
			cure := "relay unadopt " + name
			if state != "live" {
				cure += " --abandon: events that wait for its backfill are delivered then"
			}
			faults = append(faults, Fault{Table: name, Problem: "is gone", Cure: cure})
			return nil
		case len(bare) > 0:
			faults = append(faults, Fault{Table: name, Loses: main == nil || !*main, Cure: again,
				Problem: "has no trigger on " + strings.Join(bare, ", ") + ": what is inserted there by that name becomes no event"})
		}
		if len(disabled) > 0 {
			faults = append(faults, Fault{Table: name, Loses: true, Cure: again,
				Problem: "has its trigger disabled on " + strings.Join(disabled, ", ") + ": what is inserted becomes no event"})
		}
		if len(outside) > 0 {
			faults = append(faults, Fault{Table: name, Problem: "has its trigger on " + strings.Join(outside, ", ") + " too, which is no part of it any more: what is inserted there becomes an event",
				Cure: "drop trigger " + triggerName + " on " + outside[0]})
		}
		if open {
			faults = append(faults, Fault{Table: name, Problem: "belongs to a role that may not do what the outbox's owner may, and by a type of its own could make the trigger run its code with those rights",
				Cure: "relay adopt " + name + " with its --map and --replace"})
		}
		if state != "live" && idle {
			faults = append(faults, Fault{Table: name, Problem: "waits for its backfill, which nobody goes on with: events of new rows wait too",
				Cure: "relay adopt " + name + " with its --map and --backfill goes on"})
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("look at adopted tables: %w", err)
	}
	return tables, faults, nil
}
