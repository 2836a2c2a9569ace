package config

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// findPositions returns the line of every key, table and list element of a document that is valid TOML. Paths are
// written as in faults: kafka.tls.ca_file, topics.create[0].name.
func findPositions(document []byte) (map[string]origin, error) {
	w := walker{lines: map[string]origin{}, elements: map[string]int{}}
	w.parser.Reset(document)
	table, tableLine := "", 1
	for w.parser.NextExpression() {
		node := w.parser.Expression()
		switch node.Kind {
		case unstable.Table, unstable.ArrayTable:
			table, tableLine = w.header(node)
		case unstable.KeyValue:
			w.keyValue(node, table, tableLine)
		}
	}
	if err := w.parser.Error(); err != nil {
		return nil, fmt.Errorf("find the lines of the keys: %w", err)
	}
	return w.lines, nil
}

type walker struct {
	parser   unstable.Parser
	lines    map[string]origin
	elements map[string]int // how many [[tables]] of a name there were so far
}

// header notes a [table] or [[table]] and returns the path that the keys below it begin with.
func (w *walker) header(node *unstable.Node) (path string, line int) {
	for key := node.Key(); key.Next(); {
		path = join(path, string(key.Node().Data))
		line = w.line(key.Node(), line)
		if key.IsLast() && node.Kind == unstable.ArrayTable {
			w.elements[path]++
		}
		if n := w.elements[path]; n > 0 {
			w.note(path, line)
			path = fmt.Sprintf("%s[%d]", path, n-1)
		}
		w.note(path, line)
	}
	return path, line
}

func (w *walker) keyValue(node *unstable.Node, path string, line int) {
	for key := node.Key(); key.Next(); {
		path = join(path, string(key.Node().Data))
		line = w.line(key.Node(), line)
		w.note(path, line)
	}
	w.value(node.Value(), path, line)
}

func (w *walker) value(node *unstable.Node, path string, line int) {
	switch node.Kind {
	case unstable.InlineTable:
		for child := node.Children(); child.Next(); {
			w.keyValue(child.Node(), path, line)
		}
	case unstable.Array:
		i := 0
		for child := node.Children(); child.Next(); {
			if child.Node().Kind == unstable.Comment {
				continue
			}
			element := fmt.Sprintf("%s[%d]", path, i)
			elementLine := w.line(child.Node(), line)
			w.note(element, elementLine)
			w.value(child.Node(), element, elementLine)
			i++
		}
	}
}

// line is where the node was written, or the line of what it stands in when the parser does not say.
func (w *walker) line(node *unstable.Node, around int) int {
	if node.Raw.Length == 0 {
		return around
	}
	return 1 + bytes.Count(w.parser.Data()[:node.Raw.Offset], []byte("\n"))
}

// note keeps the first line: a table that is reopened by a sub-table stays where it was opened.
func (w *walker) note(path string, line int) {
	if _, known := w.lines[path]; !known {
		w.lines[path] = origin{line: line}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return strings.Join([]string{path, key}, ".")
}
