package docs

import (
	"bufio"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// verb is a command of the relay as its --help shows it.
type verb struct {
	flags []string
	subs  map[string]*verb
}

// helpOf asks the binary for a command and all below it.
func helpOf(t *testing.T, binary string, path ...string) *verb {
	t.Helper()
	out, err := exec.Command(binary, append(path, "--help")...).Output()
	if err != nil {
		t.Fatalf("relay %s --help: %v", strings.Join(path, " "), err)
	}
	v := &verb{subs: map[string]*verb{}}
	part := ""
	for lines := bufio.NewScanner(strings.NewReader(string(out))); lines.Scan(); {
		line := lines.Text()
		switch {
		case strings.HasSuffix(line, ":") && !strings.HasPrefix(line, " "):
			part = line
		case part == "Available Commands:" && strings.HasPrefix(line, "  "):
			name := strings.Fields(line)[0]
			v.subs[name] = helpOf(t, binary, append(slices.Clone(path), name)...)
		case part == "Flags:" || part == "Global Flags:":
			v.flags = append(v.flags, longFlag.FindAllString(line, 1)...)
		}
	}
	return v
}

var longFlag = regexp.MustCompile(`--[a-z][a-z-]*`)

// wrong says what a command line names that is not there: words begins with "relay".
func (v *verb) wrong(words []string) string {
	at := []string{"relay"}
	for _, word := range words[1:] {
		name, _, _ := strings.Cut(word, "=")
		switch sub := v.subs[word]; {
		case strings.HasPrefix(word, "--") && !strings.Contains(word, "…"):
			if !slices.Contains(v.flags, name) {
				return fmt.Sprintf("%s has no flag %s", strings.Join(at, " "), name)
			}
		case strings.HasPrefix(word, "-"), strings.ContainsAny(word, "…·"):
		case sub != nil:
			v = sub
			at = append(at, word)
		case len(v.subs) > 0 && wordOnly.MatchString(word):
			return fmt.Sprintf("%s has no command %s", strings.Join(at, " "), word)
		}
	}
	return ""
}

// wordOnly tells a command's name from a placeholder such as COMMAND or "…".
var wordOnly = regexp.MustCompile(`^[a-z][a-z-]*$`)

// anyFlag says whether some command has it.
func (v *verb) anyFlag(name string) bool {
	if slices.Contains(v.flags, name) {
		return true
	}
	for _, sub := range v.subs {
		if sub.anyFlag(name) {
			return true
		}
	}
	return false
}

func TestPages_NameCommandsThatExist(t *testing.T) {
	relay := helpOf(t, full(t))
	if len(relay.subs) < 10 || !slices.Contains(relay.subs["migrate"].subs["up"].flags, "--grant-writer") {
		t.Fatalf("--help could not be read: %+v", relay)
	}
	for _, p := range all(t) {
		if strings.HasPrefix(p.path, "docs/decisions/") || p.path == "CHANGELOG.md" {
			continue // they speak of other times
		}
		for _, fault := range wrongMentions(p, relay) {
			t.Error(fault)
		}
	}
}

// wrongMentions finds commands and flags of the relay that do not exist, in blocks and in prose.
func wrongMentions(p page, relay *verb) (faults []string) {
	for _, b := range p.blocks {
		if b.lang != "sh" && b.lang != "console" {
			continue
		}
		for _, c := range b.commands() {
			parts, _ := simple(c.text)
			for _, words := range parts {
				if filepath.Base(words[0]) != "relay" {
					continue
				}
				if why := relay.wrong(words); why != "" {
					faults = append(faults, fmt.Sprintf("%s:%d: %s", p.path, c.line, why))
				}
			}
		}
	}
	for n, line := range p.prose {
		for _, code := range inline.FindAllStringSubmatch(line, -1) {
			words := strings.Fields(code[1])
			why := ""
			switch {
			case len(words) > 1 && words[0] == "relay":
				why = relay.wrong(words)
			case len(words) > 0 && longFlag.MatchString(words[0]) && strings.HasPrefix(words[0], "--"):
				if name, _, _ := strings.Cut(words[0], "="); !relay.anyFlag(name) {
					why = "no command of relay has a flag " + name
				}
			}
			if why != "" {
				faults = append(faults, fmt.Sprintf("%s:%d: %s", p.path, n+1, why))
			}
		}
	}
	return faults
}

func TestWrongMentions_AreFound(t *testing.T) {
	relay := &verb{flags: []string{"--config"}, subs: map[string]*verb{
		"run":     {flags: []string{"--config"}},
		"migrate": {flags: []string{"--config"}, subs: map[string]*verb{"up": {flags: []string{"--grant-writer", "--config"}}}},
	}}
	p := parse("x.md", "`relay run` `relay migrate up --grant-writer shop` `relay COMMAND` `relay.toml` `--config`\n"+
		"`relay rn`\n`relay migrate down`\n`relay run --fast`\n`--gone`\n`relay scheme`\n```sh\nrelay migrate sideways\n```\n")
	var got []string
	for _, fault := range wrongMentions(p, relay) {
		got = append(got, strings.TrimPrefix(fault, "x.md:"))
	}
	want := []string{"8: relay migrate has no command sideways", "2: relay has no command rn", "3: relay migrate has no command down",
		"4: relay run has no flag --fast", "5: no command of relay has a flag --gone", "6: relay has no command scheme"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}
