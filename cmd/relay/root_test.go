package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestMain_WrongUsageExitsWithTwoAndAHint(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"instert"}, `relay: unknown command "instert"; did you mean insert?` + "\nSee `relay --help`."},
		{[]string{"migrate"}, "relay: say what to do: sql, status, up\nSee `relay migrate --help`."},
		{[]string{"migrate", "down"}, `relay: unknown command "down"`},
		{[]string{"completion", "powershell"}, `relay: unknown command "powershell"`},
		{[]string{"version", "now"}, `unknown command "now" for "relay version"`},
		{[]string{"version", "--yaml"}, "relay: unknown flag: --yaml\nSee `relay version --help`."},
		{[]string{"version", "--log-level", "loud"}, `relay: --log-level "loud": there are debug, info, warn, error`},
		{[]string{"version", "--log-format", "xml"}, `relay: --log-format "xml": there are auto, console, json`},
		{[]string{"tail"}, "relay: name a topic at least\nSee `relay tail --help`."},
		{[]string{"tail", "a", "--limit", "-1"}, "relay: --limit is negative"},
		{[]string{"tail", "a", "--limit", "x"}, "invalid argument \"x\" for \"--limit\""},
		{[]string{"insert", "{}"}, "relay: --topic is missing\nSee `relay insert --help`."},
		{[]string{"insert", "--topic", "a", "--header", "x"}, "relay: --header wants NAME=VALUE"},
		{[]string{"insert", "--topic", "a", "--count", "0"}, "relay: --count has to be 1 or more"},
		{[]string{"insert", "--topic", "a", "one", "two"}, "relay: give one payload"},
		{[]string{"insert", "--topic", "a", "hello"}, `relay: the payload is not JSON; text has to be in double quotes ('"hello"'), and --binary takes any bytes`},
		{[]string{"insert", "--topic", "a", "--tombstone", "{}"}, "relay: --tombstone is a record without a payload"},
		{[]string{"insert", "--topic", "a", "--binary"}, "relay: --binary needs a payload"},
		{[]string{"insert", "--topic", "a", "--deliver-at", "tomorrow"}, "relay: --deliver-at wants a time"},
		{[]string{"check", "--config", "gone.toml"}, ""},
		{[]string{"status", "--config", "gone.toml"}, "gone.toml: there is no such file\nrelay: 1 fault in the configuration"},
		{[]string{"status"}, "configuration: postgres.url: is not set"},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			r := runRelay(t, nil, test.args...)
			r.wants(t, exitUsage)
			if !strings.Contains(r.errors, test.want) {
				t.Errorf("stderr %q, wanted %q", r.errors, test.want)
			}
		})
	}
}

func TestMain_HelpGoesToStdout(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"help"}, {"help", "insert"}, {"migrate", "--help"}} {
		r := runRelay(t, nil, args...)
		if out := r.wants(t, exitDone); !strings.Contains(out, "Usage:") || r.errors != "" {
			t.Errorf("%v: stdout %q, stderr %q", args, out, r.errors)
		}
	}
}

func TestEveryCommand_IsDocumented(t *testing.T) {
	root := newRootCommand(&globals{stdout: io.Discard, stderr: io.Discard})
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: %q", cmd.CommandPath(), cmd.Short)
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	for _, name := range []string{"dev", "run", "migrate", "insert", "tail", "check", "status", "config", "version", "completion"} {
		if cmd, _, err := root.Find([]string{name}); err != nil || cmd.Name() != name {
			t.Errorf("%s is missing: %v", name, err)
		}
	}
	for _, path := range [][]string{{"version"}, {"status"}, {"check"}, {"tail"}, {"migrate", "status"}, {"config", "print"}, {"config", "check"}} {
		if cmd, _, err := root.Find(path); err != nil || cmd.Flags().Lookup("json") == nil {
			t.Errorf("%v has no --json", path)
		}
	}
}

func TestVersion(t *testing.T) {
	out := runRelay(t, nil, "version").wants(t, exitDone)
	if !strings.HasPrefix(out, "relay ") || !strings.Contains(out, "\nlibrdkafka 2.") || !strings.Contains(out, "\nfranz-go v1.") || !strings.Contains(out, "\ngo1.") {
		t.Error(out)
	}
	b := decode[build](t, runRelay(t, nil, "version", "--json").wants(t, exitDone))
	if b.Librdkafka == "" || b.FranzGo == "" || b.Go == "" || b.Platform == "" {
		t.Errorf("%+v", b)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out := runRelay(t, nil, "completion", shell).wants(t, exitDone); !strings.Contains(out, "relay") {
			t.Errorf("%s: %s", shell, out)
		}
	}
}

func TestConfig_ChecksAndPrints(t *testing.T) {
	good := writeFile(t, "relay.toml", "[postgres]\nurl = \"postgres://u:kanarienvogel@localhost/app\"\n[kafka]\ncompression = \"lz4\"\n")
	bad := writeFile(t, "relay.toml", "[lease]\nttl = \"1s\"\nttll = 2\n")

	out := runRelay(t, nil, "config", "check", "--config", good).wants(t, exitDone)
	if !strings.Contains(out, "warn "+good+":4: kafka.compression: ") || !strings.Contains(out, "is valid") {
		t.Error(out)
	}
	r := runRelay(t, nil, "config", "check", "--config", bad)
	r.wants(t, exitUsage)
	if strings.Count(r.errors, "\n") != 4 || !strings.Contains(r.errors, bad+":3: lease.ttll: unknown key") ||
		!strings.Contains(r.errors, "3 faults in the configuration") {
		t.Error(r.errors)
	}
	report := decode[configReport](t, runRelay(t, nil, "config", "check", "--json", "--config", bad).wants(t, exitUsage))
	if report.OK || len(report.Faults) != 3 || report.Faults[1].Line != 2 || report.Faults[1].Key != "lease.ttl" {
		t.Errorf("%+v", report)
	}
	for _, args := range [][]string{{"config", "print"}, {"config", "print", "--json"}} {
		r := runRelay(t, []string{"RELAY_KAFKA_CLIENT_ID=shop"}, append(args, "--config", good)...)
		if out := r.wants(t, exitDone); strings.Contains(out+r.errors, "kanarienvogel") || !strings.Contains(out, `"shop"`) {
			t.Error(out)
		}
	}
}

func TestMain_UnreachableServersAreSaidSoon(t *testing.T) {
	nowhere := []string{"RELAY_POSTGRES_URL=postgres://u:kanarienvogel@127.0.0.1:1/app", "RELAY_KAFKA_BROKERS=127.0.0.1:1"}
	for _, test := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"status"}, "relay: PostgreSQL at 127.0.0.1:1 cannot be reached: connect: connection refused; start it, or say in postgres.url where it is\n", exitFailed},
		{[]string{"migrate", "up"}, "relay: PostgreSQL at 127.0.0.1:1 cannot be reached", exitFailed},
		{[]string{"migrate", "status"}, "relay: PostgreSQL at 127.0.0.1:1 cannot be reached", exitFailed},
		{[]string{"insert", "--topic", "a"}, "relay: PostgreSQL at 127.0.0.1:1 cannot be reached", exitFailed},
		{[]string{"tail", "a"}, "relay: cannot talk to Kafka at 127.0.0.1:1: ", exitFailed},
		{[]string{"check"}, "", exitFound},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			began := time.Now()
			r := runRelay(t, nowhere, test.args...)
			r.wants(t, test.code)
			if !strings.Contains(r.errors, test.want) || strings.Contains(r.errors+r.out, "kanarienvogel") {
				t.Errorf("stderr %q, wanted %q", r.errors, test.want)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestMain_ServersThatMisbehaveAreSaidInOneLine(t *testing.T) {
	silent := listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	web := listen(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") })
	for address, want := range map[string]string{
		silent: "PostgreSQL at " + silent + " does not answer within 5s; start it",
		web:    "PostgreSQL at " + web + " cannot be reached: ",
	} {
		r := runRelay(t, []string{"RELAY_POSTGRES_URL=postgres://u:kanarienvogel@" + address + "/app?sslmode=disable"}, "status")
		r.wants(t, exitFailed)
		if !strings.Contains(r.errors, want) || strings.Count(r.errors, "\n") != 1 || strings.Contains(r.errors, "kanarienvogel") {
			t.Errorf("stderr %q, wanted %q", r.errors, want)
		}
	}
}

func TestMain_RefusedLoginsAreExplained(t *testing.T) {
	_, conn := emptyDatabase(t)
	c := conn.Config()
	for place, want := range map[string]string{
		"dbname=nothing user=" + c.User:              `has no database "nothing"; create it`,
		"dbname=" + c.Database + " user=nobody_here": `refused the login of "nobody_here"`,
	} {
		url := fmt.Sprintf("host=%s port=%d sslmode=disable %s", c.Host, c.Port, place)
		r := runRelay(t, []string{"RELAY_POSTGRES_URL=" + url}, "status")
		r.wants(t, exitFailed)
		if !strings.Contains(r.errors, want) {
			t.Errorf("stderr %q, wanted %q", r.errors, want)
		}
	}
}

func TestMain_EndsWithItsContext(t *testing.T) {
	env, _ := broker(t, map[string]int32{"quiet": 1})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Second, cancel)
	t.Chdir(t.TempDir())
	if code := Main(ctx, []string{"tail", "quiet"}, env, strings.NewReader(""), io.Discard, io.Discard); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

func TestColours_AreForTerminalsOnly(t *testing.T) {
	g := &globals{}
	if g.styleFor(io.Discard).color {
		t.Error("colours for what is no terminal")
	}
	s := style{color: true}
	if s.bad("x") != "\x1b[31mx\x1b[0m" || (style{}).bad("x") != "x" {
		t.Error("colours are not what was asked for")
	}
}
