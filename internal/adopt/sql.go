package adopt

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// arrival numbers the rows of a statement as they came.
const arrival = `"relay arrival"`

// order is the ORDER BY of a statement's rows.
func (p *Plan) order() string {
	if p.OrderBy == "" {
		return "n." + arrival
	}
	return "n." + quote(p.OrderBy) + ", n." + arrival
}

// selection maps rows, which the text from makes available as n, to events' columns.
func (p *Plan) selection(from, order string, more ...string) string {
	return fmt.Sprintf("select %s\n      from %s\n     cross join lateral (select %s as topic) t\n     order by %s",
		strings.Join(append(more, p.values...), ",\n           "), from, p.topic, order)
}

// rowKey is the primary key as text. The function's settings make it the same text in every session.
func (p *Plan) rowKey() string {
	if len(p.Source.Key) == 1 {
		// By its own collation the index of what waits would be of no use.
		return "n." + quote(p.Source.Key[0]) + `::text collate "default"`
	}
	parts := make([]string, len(p.Source.Key))
	for i, name := range p.Source.Key {
		parts[i] = "n." + quote(name)
	}
	return "(" + strings.Join(parts, ", ") + ")::text"
}

// body is the trigger function's. holding 0 writes events; otherwise they wait for the backfill of that adoption.
//
// A transition table gives rows in the order in which they were inserted, unless a COPY into a partitioned table went
// through buffers. The number is drawn after the sort: PostgreSQL evaluates defaults above ORDER BY.
func (p *Plan) body(holding int64) string {
	target, columns, more := p.ours("events"), p.columns, []string(nil)
	if holding != 0 {
		target, columns = p.ours("adopted_waiting"), append([]string{"adoption_no", "row_key"}, p.columns...)
		more = []string{fmt.Sprint(holding), p.rowKey()}
	}
	rows := "(select r.*, row_number() over () as " + arrival + " from relay_rows r) n"
	return fmt.Sprintf("\nbegin\n%s    insert into %s (%s)\n    %s;\n    return null;\nend ",
		p.guard(holding != 0), target, strings.Join(columns, ", "), p.selection(rows, p.order(), more...))
}

// guard is the part of the function that keeps an owner of the table who may not act as the outbox's from making it run a
// cast of his own: he can give a column another type at any time.
func (p *Plan) guard(withKey bool) string {
	if p.Source.Trusted {
		return ""
	}
	return fmt.Sprintf(`    if exists (%s) then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = %s,
            hint = %s;
    end if;
`, p.madeTypes("tg_relid", withKey), literal("relay adopt: a column of "+p.Source.Name+" has got a type that is none of PostgreSQL's own"),
		literal("Give the column the type that it had; or end the adoption with relay unadopt "+p.Source.Name+"."))
}

// madeTypes selects the columns that expressions take as they are and that have a type which somebody has made.
func (p *Plan) madeTypes(table string, withKey bool) string {
	names := slices.Clone(p.bare)
	for _, name := range p.Source.Key {
		if withKey && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for i, name := range names {
		names[i] = literal(name)
	}
	if len(names) == 0 {
		return "select where false"
	}
	return fmt.Sprintf("select from pg_catalog.pg_attribute where attrelid = %s and atttypid >= %s and attname in (%s)",
		table, firstOwn, strings.Join(names, ", "))
}

// settings of the trigger function. Nothing that a writer has set changes what the function does.
const settings = "set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO' " +
	"set intervalstyle = 'postgres' set bytea_output = 'hex' set extra_float_digits = 1 set lc_monetary = 'C'"

// function makes the trigger function. replace gives the one that is there another body, which no writer waits for.
//
// It runs with the rights of the schema's owner, whoever is connected: writers need no right on the outbox. Nobody else
// may make a trigger of it.
func (p *Plan) function(holding int64, replace bool) []string {
	create := "create"
	if replace {
		create += " or replace"
	}
	body := p.body(holding)
	tag := "$adopt$"
	for n := 0; strings.Contains(body, tag); n++ {
		tag = fmt.Sprintf("$adopt%d$", n)
	}
	name := p.ours(p.Function)
	return []string{
		fmt.Sprintf("%s function %s() returns trigger\nlanguage plpgsql security definer %s\nas %s%s%s", create, name, settings, tag, body, tag),
		fmt.Sprintf("revoke all on function %s() from public", name),
		p.ownFunction(name),
	}
}

// ownFunction gives it to the schema's owner, so that it is never a superuser's only because one ran the command.
func (p *Plan) ownFunction(name string) string {
	return fmt.Sprintf(`do $owner$ begin
    execute format('alter function %%s owner to %%I', %s, (select pg_get_userbyid(relowner) from pg_catalog.pg_class where oid = %s::regclass));
end $owner$`, literal(name+"()"), literal(p.ours("events")))
}

// triggers of the table and of each partition: a statement fires only those of the table that it names. When only is
// not nil, those of these tables.
func (p *Plan) triggers(only []string) (statements []string) {
	if only == nil {
		only = append([]string{p.Source.Name}, p.Source.Partitions...)
	}
	for _, table := range only {
		statements = append(statements, fmt.Sprintf(`create or replace trigger %s after insert on %s
    referencing new table as relay_rows for each statement execute function %s()`, triggerName, table, p.ours(p.Function)))
	}
	return statements
}

// lock keeps writers out until the transaction ends, and is granted when all that have written have ended. CREATE TRIGGER
// takes the same by itself; the switch, which makes none, has no other.
func (p *Plan) lock() string {
	return "lock table " + p.Source.Name + " in share row exclusive mode"
}

// record is the row of adoptions.
func (p *Plan) record(state string) string {
	m, _ := json.Marshal(p.Map) // a map of strings
	order, backfilled := "null", "null"
	if p.OrderBy != "" {
		order = literal(p.OrderBy)
	}
	if state == "backfilling" {
		backfilled = "0"
	}
	return fmt.Sprintf("insert into %s (source, source_name, function, map, order_by, state, backfilled)\nvalues (%s::regclass, %s, %s, %s, %s, %s, %s)",
		p.ours("adoptions"), literal(p.Source.Name), literal(p.Source.Name), literal(p.Function), literal(string(m)), order, literal(state), backfilled)
}

func (p *Plan) leavePublication() []string {
	if p.Publication == "" {
		return nil
	}
	return []string{fmt.Sprintf("alter publication %s drop table %s", quote(p.Publication), p.Source.Name)}
}

// install is what adopts a table without a backfill, inside a transaction.
func (p *Plan) install() (statements []string) {
	statements = append(statements, p.function(0, false)...)
	statements = append(statements, p.triggers(nil)...)
	statements = append(statements, p.leavePublication()...)
	return append(statements, p.record("live"))
}

// SQL is a script that adopts the table, for people who apply it by other means. It is one transaction; it waits two
// seconds for those that write to the table, and then fails rather than keep others waiting.
func (p *Plan) SQL() string {
	statements := append([]string{"begin", "set local lock_timeout = '2s'", p.lock()}, p.install()...)
	return strings.Join(append(statements, "commit"), ";\n") + ";\n"
}
