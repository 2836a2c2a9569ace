package adopt

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Map says where each field of an event comes from: a column, a template with {column} in it, or a constant in single
// quotes. The fields are topic, key, type, payload, headers, id, partition, deliver_at, and header.NAME for a header.
type Map map[string]string

// preset is a layout that many tables have.
type preset struct {
	fields  Map
	orderBy string // "": nothing in the layout tells
}

var presets = map[string]preset{
	// The default layout of Debezium's outbox event router, and its default topic.
	"debezium": {fields: Map{"id": "id", "topic": "outbox.event.{aggregatetype}", "key": "aggregateid", "type": "type", "payload": "payload"}},
	// nest_outbox.messages, of @nestjs/outbox.
	"nest_outbox": {fields: Map{"id": "id", "topic": "topic", "key": "key", "payload": "payload", "headers": "headers", "deliver_at": "available_at"},
		orderBy: "seq"},
}

// fields in the order in which events' columns are written.
var fields = []string{"id", "topic", "key", "type", "payload", "headers", "partition", "deliver_at"}

const headerPrefix = "header."

// ParseMap reads items such as "debezium", "topic=destination" and "header.tenant=tenant_id". A layout's name comes
// first and may be followed by fields that differ; "headers=" leaves one of its fields out. orderBy is the layout's own
// column of order, or "".
func ParseMap(items []string) (m Map, orderBy string, err error) {
	m = Map{}
	var faults []error
	for i, item := range items {
		field, value, isField := strings.Cut(strings.TrimSpace(item), "=")
		layout, known := presets[field]
		name, isHeader := strings.CutPrefix(field, headerPrefix)
		switch {
		case !isField && known && i == 0:
			m, orderBy = maps.Clone(layout.fields), layout.orderBy
		case !isField && known:
			faults = append(faults, fmt.Errorf("%s is a layout: it comes first, and once", field))
		case !isField:
			faults = append(faults, fmt.Errorf("%q is neither a layout (%s) nor field=column", item, strings.Join(slices.Sorted(maps.Keys(presets)), ", ")))
		case isHeader && slices.Contains([]string{"id", "type", "created_at", ""}, name):
			faults = append(faults, fmt.Errorf("header %q is relay's own: choose another name", name))
		case !isHeader && !slices.Contains(fields, field):
			faults = append(faults, fmt.Errorf("there is no field %q: the fields are %s and header.NAME", field, strings.Join(fields, ", ")))
		case value == "":
			delete(m, field)
		default:
			m[field] = value
		}
	}
	for _, field := range []string{"topic", "payload"} {
		if m[field] == "" && len(faults) == 0 {
			faults = append(faults, fmt.Errorf("say where the %s comes from: %s=COLUMN", field, field))
		}
	}
	return m, orderBy, errors.Join(faults...)
}

// headerNames are the names of the header fields, sorted.
func (m Map) headerNames() (names []string) {
	for field := range m {
		if name, ok := strings.CutPrefix(field, headerPrefix); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Differences lists what other says differently, a line each.
func (m Map) Differences(other Map) (lines []string) {
	all := maps.Clone(m)
	maps.Copy(all, other)
	say := func(value string) string {
		if value == "" {
			return "nothing"
		}
		return value
	}
	for _, field := range slices.Sorted(maps.Keys(all)) {
		if m[field] != other[field] {
			lines = append(lines, fmt.Sprintf("%s: from %s, not from %s", field, say(m[field]), say(other[field])))
		}
	}
	return lines
}

// part of a value: a column's name, or text.
type part struct {
	column bool
	text   string
}

// errVirtual is about a column that a trigger does not see.
func errVirtual(c *Column) error {
	return fmt.Errorf("column %s is generated when it is read, and a trigger does not see its value: make it stored, or take what it is made of", c.Name)
}

// parseValue takes a value apart.
func parseValue(value string, s *Source) ([]part, error) {
	parts, err := split(value, s)
	for _, part := range parts {
		if c := s.column(part.text); err == nil && part.column && c.Virtual {
			err = errVirtual(c)
		}
	}
	return parts, err
}

func split(value string, s *Source) ([]part, error) {
	if s.column(value) != nil {
		return []part{{column: true, text: value}}, nil
	}
	if len(value) > 1 && value[0] == '\'' && value[len(value)-1] == '\'' {
		return []part{{text: value[1 : len(value)-1]}}, nil
	}
	if !strings.Contains(value, "{") {
		return nil, fmt.Errorf("%s has no column %q (it has %s); a constant is written in single quotes", s.Name, value, s.columnNames())
	}
	var parts []part
	for rest := value; rest != ""; {
		text, after, open := strings.Cut(rest, "{")
		if text != "" {
			parts = append(parts, part{text: text})
		}
		if !open {
			break
		}
		name, behind, closed := strings.Cut(after, "}")
		if !closed {
			return nil, fmt.Errorf("%q: a { without its }", value)
		}
		if s.column(name) == nil {
			return nil, fmt.Errorf("%s has no column %q (it has %s)", s.Name, name, s.columnNames())
		}
		parts = append(parts, part{column: true, text: name})
		rest = behind
	}
	return parts, nil
}
