package adopt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Source is a table that is to be adopted, as it is now.
type Source struct {
	OID        uint32
	Name       string // as SQL: with its schema, and quoted where that is needed
	Plain      string // the same without quotes
	Columns    []Column
	Key        []string // the primary key's columns, in its order; nil without one
	Partitions []string // as SQL, without the table itself; foreign tables left out
	Owner      string   // a role
	nameTaken  bool     // a trigger function of its name is there: that of a table which had the name before, or its own
	Trusted    bool     // the owner may do what the owner of the outbox may, so nothing has to be kept from him
	Leased     int      // rows that a relay of another kind has reserved just now (nest_outbox); 0 where there is no such column
}

// Column of a table.
type Column struct {
	Name     string
	Type     string // the base type of a domain, without length, such as "uuid"
	NotNull  bool
	Counting bool // an identity, or a default of nextval
	// Own says that the type, or what a domain is made of, is none of PostgreSQL's own: a cast of it may be anybody's code.
	Own bool
	// Virtual says that the value is made when the column is read (PostgreSQL 18): a trigger does not see it.
	Virtual bool
	// Builtin says that the type is one of PostgreSQL's own and no domain.
	Builtin bool

	typeOID uint32 // as declared
}

// firstOwn is the first oid that PostgreSQL gives to what people make (FirstNormalObjectId).
const firstOwn = "16384"

func (s *Source) column(name string) *Column {
	at := slices.IndexFunc(s.Columns, func(c Column) bool { return c.Name == name })
	if at < 0 {
		return nil
	}
	return &s.Columns[at]
}

func (s *Source) columnNames() string {
	names := make([]string, len(s.Columns))
	for i, c := range s.Columns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}

// The name is read as SQL reads it: capitals need quotes, and search_path counts.
const sourceSQL = `
select c.oid, c.relkind::text, c.relispartition, c.relpersistence::text,
       format('%I.%I', n.nspname, c.relname), n.nspname || '.' || c.relname,
       coalesce((select inhparent::regclass::text from pg_catalog.pg_inherits where inhrelid = c.oid and c.relispartition), ''),
       c.oid = any (array(select to_regclass(format('%I.%I', $2::text, own)) from unnest($3::text[]) own)),
       pg_get_userbyid(c.relowner),
       coalesce((select pg_has_role(c.relowner, e.relowner, 'member') from pg_catalog.pg_class e where e.oid = to_regclass(format('%I.events', $2::text))), false),
       coalesce((select string_agg(inhrelid::regclass::text, ', ' order by inhrelid) from pg_catalog.pg_inherits where inhparent = c.oid), '')
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.oid = to_regclass($1)`

// A domain is taken for what it is made of, at any depth.
const columnsSQL = `
with recursive base(attnum, attname, typid, declared, attnotnull, virtual, counting) as (
    select a.attnum, a.attname, a.atttypid, a.atttypid, a.attnotnull, a.attgenerated = 'v',
           a.attidentity <> '' or coalesce(pg_get_expr(d.adbin, d.adrelid) like 'nextval(%', false)
      from pg_catalog.pg_attribute a left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
    union all
    select b.attnum, b.attname, t.typbasetype, b.declared, b.attnotnull or t.typnotnull, b.virtual, b.counting
      from base b join pg_catalog.pg_type t on t.oid = b.typid where t.typtype = 'd')
select b.attname, format_type(b.typid, null), b.attnotnull, b.counting, b.typid >= ` + firstOwn + `, b.declared < ` + firstOwn + `, b.virtual, b.declared::oid
  from base b join pg_catalog.pg_type t on t.oid = b.typid where t.typtype <> 'd' order by b.attnum`

const keySQL = `
select coalesce(array_agg(a.attname::text order by k.n), '{}')
  from pg_catalog.pg_index i, unnest(i.indkey::int2[]) with ordinality k(attnum, n), pg_catalog.pg_attribute a
 where i.indrelid = $1 and i.indisprimary and a.attrelid = i.indrelid and a.attnum = k.attnum and k.n <= i.indnkeyatts`

const partitionsSQL = `
select format('%I.%I', n.nspname, c.relname)
  from pg_catalog.pg_partition_tree($1) t join pg_catalog.pg_class c on c.oid = t.relid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.oid <> $1::oid and c.relkind <> 'f' order by c.oid`

// A trigger of the same name that belongs to another outbox would be overwritten.
const foreignSQL = `
select coalesce((select p.pronamespace::regnamespace::text from pg_catalog.pg_trigger g join pg_catalog.pg_proc p on p.oid = g.tgfoid
                  where g.tgrelid = $1 and g.tgname = '` + triggerName + `'
                    and p.pronamespace <> (select oid from pg_catalog.pg_namespace where nspname = $2)), '')`

// ErrNoTable is found where the table is not there.
var ErrNoTable = errors.New("there is no such table")

// Inspect looks at a table. schema is the outbox's, whose own tables are refused.
func Inspect(ctx context.Context, c *pgx.Conn, schema, table string) (*Source, error) {
	s := &Source{}
	var kind, persistence, parent string
	var partition, own bool
	var heirs string
	err := c.QueryRow(ctx, sourceSQL, table, schema, []string{"events", "parked", "inbox", "adopted_waiting"}).
		Scan(&s.OID, &kind, &partition, &persistence, &s.Name, &s.Plain, &parent, &own, &s.Owner, &s.Trusted, &heirs)
	syntax, _ := errors.AsType[*pgconn.PgError](err)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, fmt.Errorf(`%w: %s (a name with capitals is written '"Name"', another schema is written schema.table)`, ErrNoTable, table)
	case syntax != nil && (syntax.Code == "42602" || syntax.Code == "42601" || syntax.Code == "0A000"):
		return nil, fmt.Errorf("%q is no name of a table: %s", table, syntax.Message)
	case err != nil:
		return nil, fmt.Errorf("look for table %s: %w", table, err)
	case own:
		return nil, fmt.Errorf("%s belongs to the outbox itself", s.Name)
	case partition:
		return nil, fmt.Errorf("%s is a partition: rows that are inserted into %s would not be seen; adopt that", s.Name, parent)
	case kind == "r" && heirs != "":
		return nil, fmt.Errorf("%s has tables that inherit from it (%s), and rows that are inserted into those would not be seen: adopt each of them", s.Name, heirs)
	case kind != "r" && kind != "p":
		return nil, fmt.Errorf("%s is no table: a statement trigger that sees the rows needs one", s.Name)
	case persistence == "t":
		return nil, fmt.Errorf("%s is a temporary table, which ends with its session", s.Name)
	}
	var foreign string
	switch err = c.QueryRow(ctx, foreignSQL, s.OID, schema).Scan(&foreign); {
	case err != nil:
		return nil, fmt.Errorf("look at the triggers of %s: %w", s.Name, err)
	case foreign != "":
		return nil, fmt.Errorf("%s feeds another outbox already, by its trigger %s: that of schema %s", s.Name, triggerName, foreign)
	}
	rows, _ := c.Query(ctx, columnsSQL, s.OID)
	s.Columns, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c Column, err error) {
		return c, row.Scan(&c.Name, &c.Type, &c.NotNull, &c.Counting, &c.Own, &c.Builtin, &c.Virtual, &c.typeOID)
	})
	if err == nil {
		err = c.QueryRow(ctx, keySQL, s.OID).Scan(&s.Key)
	}
	if err == nil {
		rows, _ = c.Query(ctx, partitionsSQL, s.OID)
		s.Partitions, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err == nil {
		err = c.QueryRow(ctx, `select exists (select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
			where n.nspname = $1 and p.proname = $2)`, schema, functionName(s)).Scan(&s.nameTaken)
	}
	if err == nil && s.column("lease_owner") != nil {
		err = c.QueryRow(ctx, "select count(*) from "+s.Name+" where lease_owner is not null").Scan(&s.Leased)
	}
	if err != nil {
		return nil, fmt.Errorf("look at table %s: %w", s.Name, err)
	}
	return s, nil
}

// tree are the table itself or, where it is partitioned, the partitions that hold its rows. Foreign ones are left out.
const tree = `relkind = 'r' and c.oid = any (array[$1::oid] || array(select relid::oid from pg_catalog.pg_partition_tree($1::oid::regclass)))`

// Size is about how many rows the table has, 0 when PostgreSQL does not know, and how many bytes without indexes.
func (s *Source) Size(ctx context.Context, c *pgx.Conn) (rows, bytes int64, err error) {
	err = c.QueryRow(ctx, `select coalesce(sum(greatest(reltuples, 0)), 0)::bigint, coalesce(sum(pg_table_size(c.oid)), 0)::bigint
		from pg_catalog.pg_class c where c.`+tree, s.OID).Scan(&rows, &bytes)
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the size of %s: %w", s.Name, err)
	}
	return rows, bytes, nil
}

// indexed says whether rows can be read in the order of columns without looking at all of them: by an index that begins with
// them all, or by a unique one of the first. With one of the first alone, rows that are equal in it, such as those to which a
// new column gave one value, would be looked through by each batch.
func (s *Source) indexed(ctx context.Context, c *pgx.Conn, columns []string) (all bool, err error) {
	const lacking = `select not exists (select from pg_catalog.pg_class c where c.` + tree + ` and not exists (
		select from pg_catalog.pg_index i join pg_catalog.pg_class x on x.oid = i.indexrelid join pg_catalog.pg_am m on m.oid = x.relam
		  cross join lateral (select array_agg(a.attname::text order by k.n) as names
		    from unnest(i.indkey::int2[]) with ordinality k(attnum, n) left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
		   where k.n <= i.indnkeyatts) k
		 where i.indrelid = c.oid and i.indisvalid and i.indpred is null and m.amname = 'btree'
		   and (k.names[1:cardinality($2::text[])] = $2::text[] or i.indisunique and k.names = ($2::text[])[1:1])))`
	if err = c.QueryRow(ctx, lacking, s.OID, columns).Scan(&all); err != nil {
		return false, fmt.Errorf("look for an index of %s: %w", s.Name, err)
	}
	return all, nil
}
