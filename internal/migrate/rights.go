package migrate

import (
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/migrations"
)

// right is one thing that a file of grants gives.
type right struct {
	privilege string // SELECT and so on
	column    string // "": the whole object
	kind      string // schema, function, or relation
	object    string // without its schema; "" of the schema itself
}

func (r right) String() string {
	switch {
	case r.kind == "schema":
		return r.privilege + " on the schema"
	case r.column != "":
		return fmt.Sprintf("%s (%s) on %s", r.privilege, r.column, r.object)
	}
	return r.privilege + " on " + r.object
}

var (
	comment   = regexp.MustCompile(`(?m)--.*$`)
	grantText = regexp.MustCompile(`(?s)^grant (.+) on (schema |function |sequence )?(:"schema".*) to :"role"$`)
	privilege = regexp.MustCompile(`^(\w+)(?: \(([^)]*)\))?(?:, |$)`)
	spaces    = regexp.MustCompile(`\s+`)
)

// rights reads a file of grants, which says all that it gives in statements of one form.
func rights(text string) (all []right, err error) {
	for statement := range strings.SplitSeq(comment.ReplaceAllString(text, ""), ";") {
		statement = strings.TrimSpace(spaces.ReplaceAllString(statement, " "))
		if statement == "" {
			continue
		}
		parts := grantText.FindStringSubmatch(statement)
		if parts == nil {
			return nil, fmt.Errorf("no grant of the form that is read: %s", statement)
		}
		kind := strings.TrimSpace(parts[2])
		if kind == "" || kind == "sequence" {
			kind = "relation"
		}
		for given := parts[1]; given != ""; {
			p := privilege.FindStringSubmatch(given)
			if p == nil {
				return nil, fmt.Errorf("no privileges of the form that is read: %s", statement)
			}
			given = given[len(p[0]):]
			for object := range strings.SplitSeq(parts[3], ", ") {
				name, _, _ := strings.Cut(strings.TrimPrefix(object, `:"schema"`), "(")
				for column := range strings.SplitSeq(p[2], ", ") {
					all = append(all, right{privilege: strings.ToUpper(p[1]), column: column, kind: kind, object: strings.TrimPrefix(name, ".")})
				}
			}
		}
	}
	return all, nil
}

// missingSQL says of each right whether the connection's role has it. An object that is not there gives none.
const missingSQL = `
	select n, case kind
		when 'schema' then has_schema_privilege($1, privilege)
		when 'function' then (select bool_and(has_function_privilege(p.oid, privilege)) from pg_proc p
		                       where p.proname = object and p.pronamespace = to_regnamespace(quote_ident($1)))
		else case
			when col <> '' then has_column_privilege(o, col, privilege)
			when relkind = 'S' then has_sequence_privilege(o, privilege)
			else has_table_privilege(o, privilege) end
		end is true
	  from unnest($2::text[], $3::text[], $4::text[], $5::text[]) with ordinality g(kind, object, col, privilege, n)
	  left join lateral (select c.oid as o, c.relkind from pg_class c
	                      where c.relname = object and c.relnamespace = to_regnamespace(quote_ident($1))) c on true
	 order by n`

// MissingRelayRights names what [GrantRelay] gives and the connection's role does not have, such as "UPDATE on relays".
// The schema has to be there; the role needs no right for it.
func MissingRelayRights(ctx context.Context, conn *pgx.Conn, schema string) ([]string, error) {
	text, err := fs.ReadFile(migrations.Grants, "grants/relay.sql")
	if err != nil {
		return nil, fmt.Errorf("read the relay's rights: %w", err)
	}
	all, err := rights(string(text))
	if err != nil {
		return nil, fmt.Errorf("read the relay's rights: %w", err)
	}
	var kinds, objects, columns, privileges []string
	for _, r := range all {
		kinds, objects, columns, privileges = append(kinds, r.kind), append(objects, r.object), append(columns, r.column), append(privileges, r.privilege)
	}
	rows, _ := conn.Query(ctx, missingSQL, schema, kinds, objects, columns, privileges)
	var missing []string
	var n int
	var given bool
	_, err = pgx.ForEachRow(rows, []any{&n, &given}, func() error {
		if !given {
			missing = append(missing, all[n-1].String())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the rights of the role: %w", err)
	}
	return missing, nil
}
