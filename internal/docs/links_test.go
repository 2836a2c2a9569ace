package docs

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	link     = regexp.MustCompile(`\[[^\]]*\]\(<?([^)\s>]+)>?(?: "[^"]*")?\)`)
	inline   = regexp.MustCompile("`([^`]+)`")
	filePath = regexp.MustCompile(`^[a-zA-Z0-9_.-]+(/[a-zA-Z0-9_.-]+)+/?$`)
)

func TestPages_LinkToWhatIsThere(t *testing.T) {
	pages := all(t)
	for _, p := range pages {
		for _, fault := range brokenLinks(p, pages) {
			t.Error(fault)
		}
	}
}

// brokenLinks finds links and names of files that lead nowhere. Other sites are not asked.
func brokenLinks(p page, pages []page) (faults []string) {
	fault := func(line int, format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s:%d: ", p.path, line+1)+fmt.Sprintf(format, args...))
	}
	for n, line := range p.prose {
		for _, found := range link.FindAllStringSubmatch(inline.ReplaceAllString(line, "code"), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, ":") {
				continue
			}
			if target = path.Join(p.folder(), target); found[1][0] == '#' {
				target = p.path
			} else if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				fault(n, "%s: there is no such file", found[1])
				continue
			}
			for _, other := range pages {
				if other.path == target && anchor != "" && !other.anchors()[anchor] {
					fault(n, "%s: there is no such heading", found[1])
				}
			}
		}
		for _, code := range inline.FindAllStringSubmatch(line, -1) {
			if !filePath.MatchString(code[1]) {
				continue
			}
			top, _, _ := strings.Cut(code[1], "/")
			if info, err := os.Stat(filepath.Join(root, top)); err != nil || !info.IsDir() || top == "." || top == ".." {
				continue // not a path in this repository
			}
			if _, err := os.Stat(filepath.Join(root, code[1])); err != nil && top != "bin" {
				fault(n, "%s: there is no such file", code[1])
			}
		}
	}
	return faults
}

var heading = regexp.MustCompile(`^#{1,6} +(.*?) *#*$`)

// anchors are the names of a page's headings, as GitHub makes them.
func (p page) anchors() map[string]bool {
	names := map[string]bool{}
	for _, line := range p.prose {
		h := heading.FindStringSubmatch(line)
		if h == nil {
			continue
		}
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, link.ReplaceAllStringFunc(h[1], func(s string) string { return s[1:strings.Index(s, "]")] }))
		unique := name
		for i := 1; names[unique]; i++ {
			unique = fmt.Sprintf("%s-%d", name, i)
		}
		names[unique] = true
	}
	return names
}

func TestBrokenLinks_AreFound(t *testing.T) {
	p := parse("docs/x.md", "# A `b` & c\n[ok](#a-b--c) [ok](../README.md) [ok](https://example.com/x)\n[1](gone.md)\n[2](#nothing)\n"+
		"`migrations/0001_outbox.sql` `a/b`\n`migrations/gone.sql`\n")
	faults := brokenLinks(p, []page{p})
	want := []string{"docs/x.md:3: gone.md", "docs/x.md:4: #nothing", "docs/x.md:6: migrations/gone.sql"}
	if len(faults) != len(want) {
		t.Fatal(faults)
	}
	for i := range want {
		if !strings.HasPrefix(faults[i], want[i]) {
			t.Errorf("%s, want %s", faults[i], want[i])
		}
	}
}

func TestIndex_NamesEachPage(t *testing.T) {
	index := read(t, "docs/README.md")[0]
	for _, p := range read(t, "docs/*.md") {
		name := path.Base(p.path)
		if p.path != index.path && !strings.Contains(strings.Join(index.prose, "\n"), "]("+name+")") {
			t.Errorf("docs/README.md does not name %s: add a line for it", name)
		}
	}
}
