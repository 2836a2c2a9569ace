package adopt

import (
	"crypto/md5"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// triggerName of all triggers that adopt makes.
const triggerName = "relay_adopt"

// Plan is what adopting a table comes to: it is made from the table as it is now.
type Plan struct {
	Schema  string // the outbox's
	Source  *Source
	Map     Map
	OrderBy string // "": the order in which rows come
	// Publication, if not "", gives the table up in the transaction that installs the trigger.
	Publication string
	// Function is the trigger function's name. It stays when the table is renamed.
	Function string

	columns []string // of events
	values  []string // an expression each, over the row n
	topic   string   // the expression that the lateral subquery t is for
	bare    []string // columns that expressions take as they are, so that casts of their types run
}

// NewPlan finds everything that does not fit the table. orderBy "" looks for an identity or a serial column.
func NewPlan(schema string, s *Source, m Map, orderBy string) (*Plan, error) {
	p := &Plan{Schema: schema, Source: s, Map: m, OrderBy: orderBy, Function: functionName(s)}
	var faults []error
	if p.OrderBy == "" {
		p.OrderBy = counting(s)
	} else if err := orderable(s, p.OrderBy); err != nil {
		faults = append(faults, err)
	}
	if p.OrderBy != "" {
		faults = append(faults, p.bareUse(s.column(p.OrderBy)))
	}
	for _, field := range fields {
		if m[field] == "" && (field != "headers" || len(m.headerNames()) == 0) {
			continue
		}
		if err := p.add(field, m[field]); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", field, err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return p, nil
}

// counting is the one column that counts rows, or "".
func counting(s *Source) (name string) {
	for _, c := range s.Columns {
		if c.Counting && name != "" {
			return ""
		}
		if c.Counting {
			name = c.Name
		}
	}
	return name
}

// functionName is made from the table's, within PostgreSQL's 63 bytes. A table that was renamed keeps its function, so the
// next one of its old name gets a number.
func functionName(s *Source) string {
	name := "adopt " + s.Plain
	if s.nameTaken {
		name += fmt.Sprint(" ", s.OID)
	}
	if len(name) <= 63 {
		return name
	}
	cut := 54
	for cut > 0 && name[cut]&0xC0 == 0x80 { // not within a character
		cut--
	}
	return fmt.Sprintf("%s %x", name[:cut], md5.Sum([]byte(name)))[:cut+9]
}

func (p *Plan) ours(name string) string { return pgx.Identifier{p.Schema, name}.Sanitize() }

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// literal is a string constant, whatever standard_conforming_strings says.
func literal(text string) string {
	text = strings.ReplaceAll(text, "'", "''")
	if strings.Contains(text, `\`) {
		return "E'" + strings.ReplaceAll(text, `\`, `\\`) + "'"
	}
	return "'" + text + "'"
}

// refuse is the expression that ends the insert of a row whose field is wrong.
func (p *Plan) refuse(field, value string) string {
	return fmt.Sprintf("%s(%s, %s, %s)", p.ours("adopt_refuse"), literal(p.Source.Name), literal(field), value)
}

// add puts a field's column and expression down.
func (p *Plan) add(field, value string) error {
	switch field {
	case "topic":
		text, err := p.text(value)
		if err != nil {
			return err
		}
		if err := p.checkTopic(value); err != nil {
			return err
		}
		p.topic = text
		p.put("topic", fmt.Sprintf(`case when t.topic collate "C" ~ '^[a-zA-Z0-9._-]+$' and length(t.topic) <= 249 and t.topic not in ('.', '..')
                then t.topic else %s end`, p.refuse("topic", "t.topic")))
		return nil
	case "key", "type":
		text, err := p.text(value)
		if err != nil {
			return err
		}
		p.put(field, text)
		return nil
	case "headers":
		return p.headers(value)
	}
	parts, err := parseValue(value, p.Source)
	if err != nil {
		return err
	}
	if len(parts) != 1 || !parts[0].column {
		return errors.New("this field is one column as it is")
	}
	return p.whole(field, p.Source.column(parts[0].text))
}

func (p *Plan) put(column, value string) {
	p.columns, p.values = append(p.columns, column), append(p.values, value)
}

// text is the expression of a value that may be put together. It is null when a column of it is.
func (p *Plan) text(value string) (string, error) {
	parts, err := parseValue(value, p.Source)
	if err != nil {
		return "", err
	}
	terms := make([]string, len(parts))
	for i, part := range parts {
		terms[i] = literal(part.text)
		if !part.column {
			continue
		}
		c := p.Source.column(part.text)
		terms[i] = "n." + quote(c.Name) + "::text"
		if c.Own || !c.Builtin && !p.Source.Trusted { // by the type's output function, which is a superuser's
			terms[i] = fmt.Sprintf("case when num_nulls(n.%[1]s) = 0 then format('%%s', n.%[1]s) end", quote(c.Name))
			if len(parts) > 1 {
				terms[i] = "(" + terms[i] + ")"
			}
		} else if err := p.bareUse(c); err != nil {
			return "", err
		}
	}
	return strings.Join(terms, " || "), nil
}

// whole is a field that takes a column's value.
func (p *Plan) whole(field string, c *Column) error {
	column := "n." + quote(c.Name)
	if err := p.bareUse(c); err != nil {
		return err
	}
	switch field + " " + c.Type {
	case "id uuid":
		p.putID(c, column)
	case "id text", "id character varying", "id character":
		// Anything else than a UUID becomes one that no other table's id becomes.
		p.putID(c, fmt.Sprintf(`case when %[1]s collate "C" ~ '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$'
                then %[1]s::text::uuid else md5(%[2]s || %[1]s::text)::uuid end`, column, literal(p.Source.Plain+":")))
	case "id smallint", "id integer", "id bigint":
		p.putID(c, fmt.Sprintf("md5(%s || %s::text)::uuid", literal(p.Source.Plain+":"), column))
	case "payload json":
		p.put("payload", column)
	case "payload jsonb":
		p.put("payload", column+"::text::json")
	case "payload text", "payload character varying", "payload character":
		// Whatever it holds reaches Kafka as it is; as JSON, one that is none would end the insert.
		p.put("payload_bytes", "convert_to("+column+"::text, 'UTF8')")
	case "payload bytea":
		p.put("payload_bytes", column)
	case "partition smallint", "partition integer", "partition bigint":
		p.put("partition", fmt.Sprintf("case when %[1]s < 0 or %[1]s > 2147483647 then %[2]s::integer else %[1]s::integer end",
			column, p.refuse("partition", column+"::text")))
	case "deliver_at timestamp with time zone":
		p.put("deliver_at", column)
	case "deliver_at bigint": // milliseconds since 1970, as JavaScript counts
		p.put("deliver_at", "to_timestamp("+column+" / 1000.0)")
	default:
		return fmt.Errorf("column %s is %s; it can be %s", c.Name, c.Type, takes[field])
	}
	return nil
}

// putID gives a row without an id one of its own.
func (p *Plan) putID(c *Column, value string) {
	if !c.NotNull {
		value = "coalesce(" + value + ", gen_random_uuid())"
	}
	p.put("id", value)
}

var takes = map[string]string{
	"id":         "uuid, text or a whole number",
	"payload":    "json, jsonb, text or bytea",
	"partition":  "a whole number",
	"deliver_at": "timestamp with time zone, or bigint for milliseconds since 1970",
}

// headers is the object in the named column, "" for none, and after it the single headers, without those that are null.
func (p *Plan) headers(value string) error {
	object := ""
	if value != "" {
		c := p.Source.column(value)
		switch {
		case c == nil:
			return fmt.Errorf("%s has no column %q (it has %s)", p.Source.Name, value, p.Source.columnNames())
		case c.Type != "json" && c.Type != "jsonb":
			return fmt.Errorf("column %s is %s; it can be json or jsonb, with an object in it", c.Name, c.Type)
		}
		if err := p.bareUse(c); err != nil {
			return err
		}
		column := "n." + quote(c.Name)
		plain := column
		if c.Type == "jsonb" {
			plain += "::text::json"
		}
		object = fmt.Sprintf("case coalesce(%[1]s_typeof(%[2]s), 'null') when 'object' then %[3]s when 'null' then null else %[4]s::json end",
			c.Type, column, plain, p.refuse("headers", column+"::text"))
	}
	var singles []string
	for i, name := range p.Map.headerNames() {
		text, err := p.text(p.Map[headerPrefix+name])
		if err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
		singles = append(singles, fmt.Sprintf("(%d, %s, to_json(%s))", i, literal(name), text))
	}
	if len(singles) == 0 {
		p.put("headers", object)
		return nil
	}
	all := fmt.Sprintf("select 1 as first, n, name, value from (values %s) one(n, name, value) where value is not null", strings.Join(singles, ", "))
	if object != "" {
		all += fmt.Sprintf("\n                union all select 0, n, name, value from json_each(%s) with ordinality each(name, value, n)", object)
	}
	p.put("headers", "(select json_object_agg(h.name, h.value order by h.first, h.n) from (\n                "+all+") h)")
	return nil
}
