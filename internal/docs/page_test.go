package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the repository, seen from this package.
const root = "../.."

// page is a Markdown file.
type page struct {
	path   string   // from root, with slashes
	prose  []string // its lines; those of blocks and comments are empty
	blocks []block
}

// block is a fenced block, or a comment that sets the page up.
type block struct {
	line    int // of its opening, from 1
	lang    string
	options string // what follows the language
	text    string
}

var (
	fence = regexp.MustCompile("^( *)(`{3,}|~{3,})([^`]*)$")
	setup = regexp.MustCompile(`^<!-- setup\s*$`)
)

// parse takes a page apart.
func parse(name, text string) page {
	p := page{path: name}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		opening := fence.FindStringSubmatch(lines[i])
		comment := setup.MatchString(lines[i])
		if opening == nil && !comment {
			p.prose = append(p.prose, lines[i])
			continue
		}
		b := block{line: i + 1, lang: "sql", options: "setup"}
		end, indent := "-->", ""
		if opening != nil {
			indent, end = opening[1], opening[2]
			b.lang, b.options, _ = strings.Cut(strings.TrimSpace(opening[3]), " ")
		}
		p.prose = append(p.prose, "")
		var body strings.Builder
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != end; i++ {
			body.WriteString(strings.TrimPrefix(lines[i], indent) + "\n")
			p.prose = append(p.prose, "")
		}
		p.prose = append(p.prose, "")
		b.text = body.String()
		p.blocks = append(p.blocks, b)
	}
	return p
}

// read gives the pages that match patterns, from root.
func read(t *testing.T, patterns ...string) []page {
	t.Helper()
	var pages []page
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root, file)
			if err != nil {
				t.Fatal(err)
			}
			pages = append(pages, parse(filepath.ToSlash(name), string(text)))
		}
	}
	if len(pages) == 0 {
		t.Fatalf("no page matches %v", patterns)
	}
	return pages
}

// played are the pages whose blocks run; all are also those that are only read.
func played(t *testing.T) []page {
	return read(t, "README.md", "docs/*.md", "docs/operations/*.md", "docs/node/migrations.md")
}
func all(t *testing.T) []page { return read(t, "*.md", "docs/*.md", "docs/*/*.md") }

func (p page) folder() string { return path.Dir(p.path) }

func TestParse_BlocksCommentsAndProse(t *testing.T) {
	p := parse("x.md", "# One\ntext\n```sql illustration\nselect 1\n```\n<!-- setup\ncreate\n-->\n- list\n  ```sh\n  relay\n    x\n  ```\nend")
	want := []block{
		{3, "sql", "illustration", "select 1\n"},
		{6, "sql", "setup", "create\n"},
		{10, "sh", "", "relay\n  x\n"},
	}
	if len(p.blocks) != len(want) {
		t.Fatalf("%+v", p.blocks)
	}
	for i, b := range p.blocks {
		if b != want[i] {
			t.Errorf("%+v, want %+v", b, want[i])
		}
	}
	if len(p.prose) != 14 || p.prose[13] != "end" || p.prose[3] != "" {
		t.Errorf("%d lines of prose: %q", len(p.prose), p.prose)
	}
}
