package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

const exampleFile = "../../config.example.toml"

func TestExampleFile_DecodesToTheDefaults(t *testing.T) {
	cfg, err := Load(exampleFile, nil, PostgresOptional)
	if err != nil {
		t.Fatal(err)
	}
	want := keysOf(Default())
	for i, k := range keysOf(cfg) {
		if got := k.field.Interface(); !reflect.DeepEqual(got, want[i].field.Interface()) {
			t.Errorf("%s = %v, the default is %v", k.path, got, want[i].field.Interface())
		}
	}
	if len(cfg.Warnings()) > 0 {
		t.Errorf("warnings: %v", cfg.Warnings())
	}
}

func TestExampleFile_DocumentsEveryKey(t *testing.T) {
	content, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(content), "\n")
	written, err := findPositions(content)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keysOf(Default()) {
		at, ok := written[k.path]
		if !ok {
			t.Errorf("%s is missing", k.path)
			continue
		}
		comment := commentAbove(lines, at.line)
		for _, wanted := range [][]string{{"Range:", "One of:"}, {"Default:"}} {
			if !containsAny(comment, wanted) {
				t.Errorf("%s:%d: the comment on %s does not say %s", exampleFile, at.line, k.path, wanted[0])
			}
		}
		_, harm, _ := strings.Cut(comment, "Default:")
		if _, harm, _ = strings.Cut(harm, "\n"); len(harm) < 20 {
			t.Errorf("%s:%d: the comment on %s does not say what goes wrong", exampleFile, at.line, k.path)
		}
	}
}

// commentAbove is the block of comment lines right above a line (counted from 1).
func commentAbove(lines []string, line int) string {
	first := line - 1
	for first > 0 && strings.HasPrefix(lines[first-1], "#") {
		first--
	}
	return strings.Join(lines[first:line-1], "\n") + "\n"
}

func containsAny(text string, words []string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}
