package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// WriteTOML writes the effective configuration as a file that [Load] accepts, with secrets as ***. A comment beside
// each value that is not a default says where it was written.
func (c *Config) WriteTOML(w io.Writer) error {
	var b bytes.Buffer
	table := ""
	for i, k := range keysOf(c) {
		at := parent(k.path)
		name := strings.TrimPrefix(k.path, at+".")
		topics, isTopics := k.field.Interface().([]CreateTopic)
		properties, isProperties := k.field.Interface().(Properties)
		if isProperties {
			writeStrings(&b, k.path, properties.Shown())
			continue
		}
		if at != table || i == 0 {
			fmt.Fprintf(&b, "\n[%s]\n", at)
			table = at
		}
		if isTopics && len(topics) > 0 {
			writeTopics(&b, k.path, topics)
			continue
		}
		line := name + " = " + tomlValue(k.field.Interface())
		if where := c.origins[k.path]; where.env != "" {
			line += "  # " + where.env
		} else if where.line > 0 {
			line += fmt.Sprintf("  # %s:%d", c.file, where.line)
		}
		b.WriteString(line + "\n")
	}
	_, err := w.Write(bytes.TrimLeft(b.Bytes(), "\n"))
	return err
}

func writeStrings(b *bytes.Buffer, table string, values map[string]string) {
	fmt.Fprintf(b, "\n[%s]\n", table)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(b, "%s = %s\n", tomlString(name), tomlString(values[name]))
	}
}

func writeTopics(b *bytes.Buffer, path string, topics []CreateTopic) {
	for _, t := range topics {
		fmt.Fprintf(b, "\n[[%s]]\nname = %s\npartitions = %d\nreplication_factor = %d\n",
			path, tomlString(t.Name), t.Partitions, t.ReplicationFactor)
		if len(t.Config) > 0 {
			writeStrings(b, path+".config", t.Config)
		}
	}
}

// WriteJSON writes the effective configuration as one JSON document with the keys of the file, secrets as ***.
func (c *Config) WriteJSON(w io.Writer) error {
	root := map[string]any{}
	for _, k := range keysOf(c) {
		parts := strings.Split(k.path, ".")
		table := root
		for _, name := range parts[:len(parts)-1] {
			if _, exists := table[name]; !exists {
				table[name] = map[string]any{}
			}
			table = table[name].(map[string]any)
		}
		table[parts[len(parts)-1]] = jsonValue(k.field.Interface())
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(root)
}

func jsonValue(value any) any {
	switch v := value.(type) {
	case []CreateTopic:
		topics := make([]map[string]any, len(v))
		for i, t := range v {
			topics[i] = map[string]any{
				"name": t.Name, "partitions": t.Partitions, "replication_factor": t.ReplicationFactor, "config": t.Config,
			}
		}
		return topics
	case fmt.Stringer:
		return v.String()
	default:
		return v
	}
}

func tomlValue(value any) string {
	switch v := value.(type) {
	case []string:
		quoted := make([]string, len(v))
		for i := range v {
			quoted[i] = tomlString(v[i])
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case []CreateTopic:
		return "[]"
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case fmt.Stringer:
		return tomlString(v.String())
	default:
		return tomlString(reflect.ValueOf(v).String())
	}
}

// tomlString quotes as JSON does, whose escapes TOML shares; only DEL is legal in JSON and not in TOML.
func tomlString(s string) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s) // a string always encodes
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`)
}
