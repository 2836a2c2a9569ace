package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// source is all that the programs are made of.
func source(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, top := range []string{"cmd/relay", "internal", "publisher"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			all.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

var (
	quoted = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
	// outages are logged as what is away and what that means.
	outages = []string{"PostgreSQL", "Kafka"}
)

// unknownLines are quoted log lines that no source writes.
func unknownLines(page, source string) (unknown []string) {
	for _, line := range quoted.FindAllStringSubmatch(page, -1) {
		phrase := line[1]
		written := `"` + phrase
		for _, what := range outages {
			if rest, ok := strings.CutPrefix(phrase, what+" is not available"); ok && strings.Contains(source, `"`+what+`", `) {
				written = `" is not available` + rest
			}
		}
		if !strings.Contains(source, written) {
			unknown = append(unknown, phrase)
		}
	}
	return unknown
}

func TestTroubleshooting_QuotesLinesThatAreWritten(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/operations/troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(quoted.FindAllString(string(page), -1)); n < 10 {
		t.Fatalf("%d lines are quoted", n)
	}
	for _, phrase := range unknownLines(string(page), source(t)) {
		t.Errorf("nothing logs %q", phrase)
	}
	if got := unknownLines("| `leading` | x |\n| `never said by anybody` | y |\n", source(t)); len(got) != 1 {
		t.Errorf("an invented line passes: %q", got)
	}
}
