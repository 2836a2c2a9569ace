package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// decodeFile lays the document over cfg. What cannot be used is reported and leaves the value as it was. It returns
// false when the document is not TOML, so that nothing in it was looked at.
func decodeFile(document []byte, cfg *Config, r *report) bool {
	var root map[string]any
	if err := toml.Unmarshal(document, &root); err != nil {
		f := Fault{File: r.file, Reason: strings.TrimPrefix(err.Error(), "toml: ")}
		if syntax, ok := errors.AsType[*toml.DecodeError](err); ok {
			f.Line, _ = syntax.Position()
		}
		r.faults = append(r.faults, f)
		return false
	}
	origins, err := findPositions(document)
	if err != nil {
		r.faults = append(r.faults, Fault{File: r.file, Reason: err.Error()})
		return false
	}
	maps.Copy(r.origins, origins)
	decodeTable(root, reflect.ValueOf(cfg).Elem(), "", r)
	return true
}

// decodeTable assigns the keys of a TOML table to the fields of a struct.
func decodeTable(table map[string]any, target reflect.Value, path string, r *report) {
	fields := fieldsOf(target)
	for _, name := range slices.Sorted(maps.Keys(table)) {
		field, known := fields[name]
		key := join(path, name)
		if !known {
			r.fault(key, "%s", unknownKey(name, path, slices.Sorted(maps.Keys(fields))))
			continue
		}
		decodeValue(table[name], field, key, r)
	}
}

func decodeValue(value any, target reflect.Value, key string, r *report) {
	switch target.Interface().(type) {
	case []CreateTopic:
		decodeTopics(value, target, key, r)
		return
	case []string:
		decodeStrings(value, target, key, r)
		return
	}
	if target.Kind() != reflect.Map && !isTable(target.Type()) {
		if err := assign(value, target); err != nil {
			r.fault(key, "%s", err)
		}
		return
	}
	table, ok := value.(map[string]any)
	switch {
	case !ok:
		r.fault(key, "is %s; a table is wanted: write [%s] and its keys below it", describe(value), key)
	case target.Kind() == reflect.Map:
		properties := map[string]string{}
		flatten(table, "", key, properties, r)
		target.Set(reflect.ValueOf(properties).Convert(target.Type()))
	default:
		decodeTable(table, target, key, r)
	}
}

// assign sets one scalar.
func assign(value any, target reflect.Value) error {
	if text, ok := target.Addr().Interface().(encoding.TextUnmarshaler); ok {
		s, isString := value.(string)
		if !isString {
			return fmt.Errorf("is %s; write it as a string with its unit, such as %s", describe(value), unitExample(target))
		}
		return text.UnmarshalText([]byte(s))
	}
	switch target.Kind() {
	case reflect.String:
		if s, ok := value.(string); ok {
			target.SetString(s)
			return nil
		}
		return fmt.Errorf("is %s; a string is wanted", describe(value))
	case reflect.Bool:
		if b, ok := value.(bool); ok {
			target.SetBool(b)
			return nil
		}
		return fmt.Errorf("is %s; true or false is wanted", describe(value))
	default:
		n, ok := value.(int64)
		if !ok {
			return fmt.Errorf("is %s; a whole number is wanted", describe(value))
		}
		if n > math.MaxInt32 || n < math.MinInt32 {
			return errors.New("is out of range")
		}
		target.SetInt(n)
		return nil
	}
}

func unitExample(target reflect.Value) string {
	if _, ok := target.Interface().(Size); ok {
		return `"32MiB"`
	}
	return `"30s"`
}

func decodeStrings(value any, target reflect.Value, key string, r *report) {
	elements, ok := value.([]any)
	if !ok {
		r.fault(key, `is %s; a list of strings is wanted: ["…"]`, describe(value))
		return
	}
	list := make([]string, len(elements))
	for i, element := range elements {
		if list[i], ok = element.(string); !ok {
			r.fault(fmt.Sprintf("%s[%d]", key, i), "is %s; a string is wanted", describe(element))
		}
	}
	target.Set(reflect.ValueOf(list))
}

func decodeTopics(value any, target reflect.Value, key string, r *report) {
	elements, ok := value.([]any)
	if !ok {
		r.fault(key, "is %s; a list of tables is wanted: [[%s]]", describe(value), key)
		return
	}
	topics := make([]CreateTopic, len(elements))
	for i, element := range elements {
		place := fmt.Sprintf("%s[%d]", key, i)
		table, ok := element.(map[string]any)
		if !ok {
			r.fault(place, "is %s; a table is wanted", describe(element))
			continue
		}
		decodeTable(table, reflect.ValueOf(&topics[i]).Elem(), place, r)
	}
	target.Set(reflect.ValueOf(topics))
}

// flatten turns linger.ms = 5, which TOML reads as a table in a table, into the property "linger.ms" that was meant.
func flatten(table map[string]any, prefix, key string, into map[string]string, r *report) {
	for name, value := range table {
		property := join(prefix, name)
		switch v := value.(type) {
		case map[string]any:
			flatten(v, property, key, into, r)
		case string:
			into[property] = v
		case int64:
			into[property] = strconv.FormatInt(v, 10)
		case bool:
			into[property] = strconv.FormatBool(v)
		case float64:
			into[property] = strconv.FormatFloat(v, 'f', -1, 64)
		default:
			r.fault(join(key, property), "is %s; a string is wanted", describe(value))
		}
	}
}

// describe says what kind of value was written, never the value: it may be a secret in the wrong place.
func describe(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case int64:
		return "a number"
	case float64:
		return "a fraction"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	default:
		return "a date or time"
	}
}
