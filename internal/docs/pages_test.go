package docs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/outboxrelay/relay/internal/config"
)

func TestPages_RunAsShown(t *testing.T) {
	pages := played(t)
	compiled := ""
	if !testing.Short() {
		compiled = programs(t, pages)
	}
	for _, p := range pages {
		t.Run(p.path, func(t *testing.T) {
			s := newStage(t)
			if !testing.Short() {
				s.link(full(t), "bin/relay")
			}
			for _, b := range p.blocks {
				if err := s.block(p, b, compiled); err != nil {
					t.Fatalf("%s:%d: %v", p.path, b.line, err)
				}
			}
			s.stop()
		})
	}
}

// typed is what a block without a language must not hold: somebody would want to run it.
var typed = regexp.MustCompile(`(?m)^(\$ |relay |bin/relay |psql |insert into |select |create )`)

// block does with a block what its language asks for.
func (s *stage) block(p page, b block, compiled string) error {
	switch {
	case b.options == "illustration":
		return nil
	case b.options != "" && b.options != "setup":
		return fmt.Errorf("%q after %q: only illustration is known", b.options, b.lang)
	}
	switch b.lang {
	case "", "text":
		if typed.MatchString(b.text) {
			return errors.New("this can be run, so say what it is: sql, sh, console …")
		}
		return nil
	case "mermaid":
		return nil
	case "sql":
		return s.sql(b)
	case "toml":
		return s.toml(b)
	case "json":
		return json.Unmarshal([]byte(b.text), new(any))
	case "yaml":
		return decodeYAML(b.text)
	case "sh", "console", "go", "js":
		if testing.Short() {
			return nil
		}
	default:
		return fmt.Errorf("no way to run %q: add one, or mark the block as illustration", b.lang)
	}
	var out string
	var err error
	switch b.lang {
	case "go":
		if !strings.Contains(b.text, "\nfunc main()") {
			return errors.New("not a complete program: make it one, or mark the block as illustration")
		}
		out, err = s.run("", filepath.Join(compiled, program(p, b)))
	case "js":
		out, err = s.node(p, b)
	default:
		s.play(p, b)
	}
	return outcome(err, out)
}

func outcome(err error, output string) error {
	if err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	return nil
}

func (s *stage) sql(b block) error {
	out, err := s.run(b.text, filepath.Join(s.binaries, "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-")
	return outcome(err, out)
}

var fileName = regexp.MustCompile(`^# (relay\.toml)\n`)

// toml decodes a configuration. The files that it names are on no machine; nothing else may be wrong.
func (s *stage) toml(b block) error {
	path := s.write("block.toml", b.text)
	_, err := config.Load(path, nil, config.PostgresOptional)
	var faults config.Faults
	if errors.As(err, &faults) {
		for _, f := range faults {
			if !strings.Contains(f.Reason, "no such file or directory") {
				return fmt.Errorf("line %d: %s: %s", b.line+f.Line, f.Key, f.Reason)
			}
		}
	} else if err != nil {
		return err
	}
	if name := fileName.FindStringSubmatch(b.text); name != nil {
		s.write(name[1], s.relocate(b.text))
		s.unset("RELAY_POSTGRES_URL", "RELAY_KAFKA_BROKERS") // they would win over the file
	}
	return os.Remove(path)
}

func decodeYAML(text string) error {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var document any
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestBlock_SeesWhatDoesNotWork(t *testing.T) {
	s := newStage(t)
	for _, test := range []struct {
		b    block
		want string
	}{
		{block{lang: "sql", text: "insert into outbox.events (topic) values ('no spaces');"}, "events_topic_name"},
		{block{lang: "sql", text: "select 1/0; select 2;"}, "division by zero"},
		{block{lang: "sql", text: "select 1;"}, ""},
		{block{lang: "sql", options: "illustration", text: "select 1/0;"}, ""},
		{block{lang: "sql", options: "example", text: "select 1;"}, "only illustration is known"},
		{block{lang: "toml", text: "[outbox]\nnaem = \"x\"\n"}, "naem"},
		{block{lang: "toml", text: "[kafka.tls]\nenabled = true\nca_file = \"/nowhere/ca.pem\"\n"}, ""},
		{block{lang: "json", text: "{"}, "unexpected end"},
		{block{lang: "yaml", text: "a: [1\n"}, "yaml"},
		{block{lang: "cobol", text: "x"}, "no way to run"},
		{block{text: "+---+\n| x |\n"}, ""},
		{block{text: "relay status\n"}, "say what it is"},
	} {
		err := s.block(page{path: "x.md"}, test.b, "")
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v, want %q", test.b, err, test.want)
		}
	}
}
