package docs

import (
	"slices"
	"strings"
	"testing"
)

// unrun are the commands that pages show and this test does not run, each with the reason. An entry matches when its
// words begin the command's.
var unrun = []struct{ words, why string }{
	{"git clone", "asks another machine"},
	{"cd", "the page's folder stays"},
	{"make", "works on the whole repository; make test and continuous integration run these"},
	{"bench", "measures for an hour, or writes a page of this folder; bench/main_test.go runs it"},
	{"cp bin/bench.json", "keeps what make bench has measured"},
	{"docker", "there may be no container engine; deploy_test.go looks at the files"},
	{"systemctl", "needs a machine of its own; deploy has the test of the unit"},
	{"kubectl", "needs a cluster; deploy has the test of the manifests"},
	{"relay dev", "runs until Ctrl-C; internal/acceptance runs it"},
}

// The list is for what pages show: an entry that outlives its command would let another one pass unseen.
func TestUnrun_EachEntryIsNeeded(t *testing.T) {
	needed := map[string]bool{}
	for _, p := range played(t) {
		for _, b := range p.blocks {
			if b.lang != "sh" && b.lang != "console" || b.options == "illustration" {
				continue
			}
			for _, c := range b.commands() {
				parts, _ := simple(c.text)
				for _, words := range parts {
					needed[unrunReason(words)] = true
				}
				if _, why := judge(parts); why != "" {
					t.Errorf("%s:%d: %s: list it with the reason why it is not run: %s", p.path, c.line, why, c.text)
				}
			}
		}
	}
	for _, u := range unrun {
		if !needed[u.why] {
			t.Errorf("no page shows %q: take it out", u.words)
		}
	}
}

// unrunReason says why a command is not run; "" when it is.
func unrunReason(words []string) string {
	line := strings.Join(words, " ") + " "
	for _, u := range unrun {
		if strings.HasPrefix(strings.TrimPrefix(line, "bin/"), u.words+" ") {
			return u.why
		}
	}
	if strings.HasPrefix(line, "relay tail ") && !slices.Contains(words, "--limit") {
		return "waits for records without end"
	}
	return ""
}
