package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/process"
)

// harmless are the programs that run where a page shows them.
var harmless = []string{"relay", "bin/relay", "psql", "export", "unset", "cp", "cat", "echo", "head", "grep"}

// command is what a reader would type: one line or more, up to the end of its quotes and here-documents.
type command struct {
	line int // in the page
	text string
}

// commands takes a block apart. Of a console only the lines after "$ " are typed.
func (b block) commands() []command {
	var all []command
	var open string // the delimiter of a here-document
	continued := false
	for i, line := range strings.Split(strings.TrimRight(b.text, "\n"), "\n") {
		if b.lang == "console" && !continued {
			typed, ok := strings.CutPrefix(line, "$ ")
			if !ok {
				continue
			}
			line = typed
		}
		if !continued {
			if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
				continue
			}
			all = append(all, command{line: b.line + 1 + i})
		}
		last := &all[len(all)-1]
		last.text += line + "\n"
		switch {
		case open != "":
			if strings.TrimSpace(line) == open {
				open = ""
			}
		default:
			if here := hereDocument.FindStringSubmatch(line); here != nil {
				open = here[1]
			}
		}
		_, balanced := simple(last.text)
		continued = open != "" || !balanced || strings.HasSuffix(line, `\`)
	}
	return all
}

var hereDocument = regexp.MustCompile(`<<-?\s*['"]?(\w+)['"]?`)

// simple gives the simple commands of a line, each as its words without quotes; balanced is false while a quote is
// open. It knows pipes, lists, quotes, backslashes, comments and assignments before a command: what pages use.
func simple(text string) (found [][]string, balanced bool) {
	text, _, _ = strings.Cut(text, "\n<<") // a here-document's body is read as words, which is harmless
	var words []string
	var word strings.Builder
	begun := false
	quote := rune(0)
	endWord := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	endCommand := func() {
		endWord()
		for len(words) > 0 && assignment.MatchString(words[0]) {
			words = words[1:]
		}
		if len(words) > 0 {
			found = append(found, words)
		}
		words = nil
	}
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case r == '\\' && quote != '\'' && i+1 < len(runes):
			if i++; runes[i] != '\n' {
				word.WriteRune(runes[i])
				begun = true
			}
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case r == '#' && !begun:
			for i+1 < len(runes) && runes[i+1] != '\n' {
				i++
			}
		case r == ' ' || r == '\t':
			endWord()
		case r == '\n':
			endCommand()
			if hereDocument.MatchString(text) {
				return found, true // what follows is no command
			}
		case strings.ContainsRune("|;&", r):
			endCommand()
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	endCommand()
	return found, quote == 0
}

var assignment = regexp.MustCompile(`^[A-Za-z_]\w*=`)

// play runs the commands of a block, one after the other, with what earlier ones exported.
func (s *stage) play(p page, b block) {
	s.t.Helper()
	for _, c := range b.commands() {
		where := fmt.Sprintf("%s:%d", p.path, c.line)
		parts, _ := simple(c.text)
		run, why := judge(parts)
		switch {
		case why != "":
			s.t.Errorf("%s: %s: %s", where, why, c.text)
		case !run:
		case len(parts) == 1 && isDaemon(parts[0]):
			s.daemons = append(s.daemons, s.launch(c))
		default:
			if out, err := s.run("", "bash", "-c", s.script(c, "declare -px > .exported")); err != nil {
				s.t.Fatalf("%s: %v\n%s%s", where, err, c.text, out)
			}
		}
	}
}

// judge says whether a line runs; if it neither runs nor is listed, why.
func judge(parts [][]string) (run bool, why string) {
	run = true
	for _, words := range parts {
		switch {
		case unrunReason(words) != "":
			run = false
		case !slices.Contains(harmless, words[0]):
			why = words[0] + " is not known to be harmless"
		}
	}
	if !run {
		return false, ""
	}
	return run, why
}

func isDaemon(words []string) bool {
	return len(words) > 1 && filepath.Base(words[0]) == "relay" && words[1] == "run"
}

func (s *stage) script(c command, after string) string {
	return "set -eo pipefail\n[ ! -e .exported ] || . ./.exported\n" + s.relocate(c.text) + "\n" + after + "\n"
}

// daemon is a `relay run` of a page.
type daemon struct {
	*process.Process
	log string
}

// launch runs a daemon until the page ends, and waits until it delivers.
func (s *stage) launch(c command) *daemon {
	s.t.Helper()
	log := filepath.Join(s.t.TempDir(), "log")
	out, err := os.Create(log)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	// The guard recognizes its processes by the name of its folder among the arguments.
	p, err := shared.guard.Start(process.Spec{Path: "/bin/bash",
		Args: []string{"-c", s.script(command{text: "exec " + c.text}, ""), shared.folder.Path}, Env: s.env, Dir: s.folder, Output: out})
	if err != nil {
		s.t.Fatal(err)
	}
	d := &daemon{Process: p, log: log}
	s.t.Cleanup(d.Kill)
	d.await(s.t, `"message":"session began"`)
	return d
}

func (d *daemon) await(t *testing.T, phrase string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(d.log)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), phrase) {
			return
		}
		if gone, _ := d.Exited(); gone || time.Now().After(deadline) {
			t.Fatalf("relay run did not say %s:\n%s", phrase, text)
		}
	}
}

// stop ends the page's daemons as a platform would.
func (s *stage) stop() {
	s.t.Helper()
	for _, d := range s.daemons {
		d.End(syscall.SIGTERM, patience)
		if _, status := d.Exited(); status.ExitStatus() != 0 {
			text, _ := os.ReadFile(d.log)
			s.t.Errorf("relay run ended with %d after SIGTERM:\n%s", status.ExitStatus(), text)
		}
	}
}

func TestSimple_TakesLinesApart(t *testing.T) {
	for text, want := range map[string]string{
		`relay insert --topic orders '{"a": 1}' # sample`:  `[[relay insert --topic orders {"a": 1}]]`,
		"A=1 B='x y' relay migrate sql | psql -f -":        `[[relay migrate sql] [psql -f -]]`,
		"make dev && curl -s \"http://x\"; relay version":  `[[make dev] [curl -s http://x] [relay version]]`,
		"psql -c \"insert\n into\" \\\n  --quiet":          "[[psql -c insert\n into --quiet]]",
		"cat > relay.toml <<'EOF'\n[kafka]\nrm -rf x\nEOF": `[[cat > relay.toml <<EOF]]`,
	} {
		if got, balanced := simple(text); fmt.Sprint(got) != want || !balanced {
			t.Errorf("%s: %v %v, want %s", text, got, balanced, want)
		}
	}
	if _, balanced := simple(`psql -c "select`); balanced {
		t.Error("an open quote is taken for a closed one")
	}
}

func TestCommands_OfAConsoleAreWhatIsTyped(t *testing.T) {
	b := block{lang: "console", line: 1, text: "$ relay status\noutbox main\n$ psql -c 'select 1,\n  2'\n 1 | 2\n$ relay check # all\n"}
	want := []command{{2, "relay status\n"}, {4, "psql -c 'select 1,\n  2'\n"}, {7, "relay check # all\n"}}
	if got := b.commands(); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestJudge_RefusesWhatIsNotListed(t *testing.T) {
	for line, want := range map[string]string{
		"relay status":                "true ",
		"make dev":                    "false ",
		"relay dev --events 3":        "false ",
		"relay tail orders":           "false ",
		"relay tail orders --limit 1": "true ",
		"rm -rf /":                    "true rm is not known to be harmless",
		"relay status | xargs rm":     "true xargs is not known to be harmless",
	} {
		parts, _ := simple(line)
		run, why := judge(parts)
		if got := fmt.Sprint(run, " ", why); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}
