package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// key is a leaf of Config: its path and its field.
type key struct {
	path  string
	field reflect.Value
}

// keysOf lists the leaves of cfg in the order in which they are declared.
func keysOf(cfg *Config) []key {
	return appendKeys(nil, reflect.ValueOf(cfg).Elem(), "")
}

func appendKeys(keys []key, table reflect.Value, path string) []key {
	for i := range table.NumField() {
		name := table.Type().Field(i).Tag.Get("toml")
		if name == "" {
			continue
		}
		field := table.Field(i)
		if isTable(field.Type()) {
			keys = appendKeys(keys, field, join(path, name))
			continue
		}
		keys = append(keys, key{path: join(path, name), field: field})
	}
	return keys
}

// isTable says whether a field is a table of its own, not a value that happens to be a struct.
func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func fieldsOf(table reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for i := range table.NumField() {
		if name := table.Type().Field(i).Tag.Get("toml"); name != "" {
			fields[name] = table.Field(i)
		}
	}
	return fields
}

// unknownKey says what was probably meant: a key of this table with nearly this name, or of another table with
// exactly this name.
func unknownKey(name, table string, siblings []string) string {
	if near := nearest(name, siblings); near != "" {
		return fmt.Sprintf("unknown key; did you mean %s?", join(table, near))
	}
	var elsewhere []string
	for _, k := range keysOf(Default()) {
		if strings.HasSuffix(k.path, "."+name) {
			elsewhere = append(elsewhere, k.path)
		}
	}
	if len(elsewhere) > 0 {
		return "unknown key; did you mean " + strings.Join(elsewhere, " or ") + "?"
	}
	known := slices.Clone(siblings)
	if table == "" {
		return "unknown table; there are " + strings.Join(known, ", ")
	}
	return "unknown key; this table has " + strings.Join(known, ", ")
}
