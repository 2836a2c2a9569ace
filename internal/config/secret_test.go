package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

const canary = "kanarienvogel"

// canaryDocument holds the canary in every place that may hold a secret.
const canaryDocument = `
[postgres]
url = "postgres://relay:kanarienvogel@localhost:5432/app?sslpassword=kanarienvogel"
[kafka.tls]
enabled = true
[kafka.sasl]
mechanism = "PLAIN"
username = "u"
password = "kanarienvogel"
[kafka.properties]
"some.password" = "kanarienvogel"
`

func TestSecrets_AreNeverPrinted(t *testing.T) {
	cfg, err := Load(write(t, canaryDocument), nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Kafka.SASL.ClientSecret = canary
	var out bytes.Buffer
	if err := cfg.WriteTOML(&out); err != nil {
		t.Fatal(err)
	}
	if err := cfg.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", *cfg)
		fmt.Fprintf(&out, verb+"\n", cfg.Kafka.SASL.Password)
		fmt.Fprintf(&out, verb+"\n", &cfg.Postgres)
	}
	encoded, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(encoded)
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	logger.Info("x", "password", cfg.Kafka.SASL.Password, "url", cfg.Postgres.URL, "sasl", cfg.Kafka.SASL)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "postgres", cfg.Postgres, "sasl", cfg.Kafka.SASL)

	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, canary) || strings.Contains(line, fmt.Sprintf("%x", canary)) {
			t.Errorf("the canary sings: %s", line)
		}
	}
	if got := cfg.Kafka.SASL.Password.Reveal(); got != canary {
		t.Errorf("the password is %q", got)
	}
}

func TestSecrets_AreNeverInFaults(t *testing.T) {
	for _, url := range []string{
		"postgres://relay:kanarienvogel@host:port/app",
		"postgres://relay:kanarien/kanarienvogel@host/app",
		"postgres://relay:kanarienvogel@[::1/app",
		"postgres://relay:kanarienvogel%zz@host/app",
		"postgres://relay:a`: invalid connect_timeout kanarienvogel@host/app?sslmode=x",
		"host=x password='kanarienvogel",
		"host=x password=a kanarienvogel",
		"kanarienvogel",
		"mysql://root:kanarienvogel@host/app",
		"POSTGRES://relay:kanarienvogel@host/app?sslmode=require",
		" postgres://relay:kanarienvogel@host/app?sslmode=require",
		"jdbc:postgresql://relay:kanarienvogel@host/app?sslmode=require&x=y",
		"postgres://h/app?password=kanarienvogel&connect_timeout=kanarienvogel&sslmode=kanarienvogel",
	} {
		for _, document := range []string{
			"[postgres]\nurl = '" + strings.ReplaceAll(url, "'", "''") + "'\n",
			"[kafka]\nbrokers = [\"" + url + "\"]\n",
			"[http]\nlisten = \"" + url + "\"\n",
			"[postgres]\nurl_file = \"" + strings.ReplaceAll(writeFile(t, "url", url), `\`, `\\`) + "\"\n",
			"[lease]\nttl = \"" + url + "\"\n",
			"[outbox]\nmax_in_flight = \"" + url + "\"\n",
			"[kafka.sasl]\nmechanism=\"OAUTHBEARER\"\nclient_id=\"x\"\ntoken_url = \"" + url + "\"\nclient_secret = \"kanarienvogel\"\nclient_secret_file = \"x\"\n",
			"[kafka.sasl]\npassword = \"kanarienvogel\"\nclient_secret = \"kanarienvogel\"\n",
			"[kafka.sasl]\npassword = [\"kanarienvogel\"]\n",
			"[kafka.sasl]\npassword = kanarienvogel\n",
		} {
			cfg, err := Load(write(t, document), []string{"RELAY_POSTGRES_URI=" + url})
			if err == nil {
				t.Errorf("no fault in %q", document)
				continue
			}
			said := err.Error()
			for _, w := range cfg.Warnings() {
				said += "\n" + w.String()
			}
			if strings.Contains(said, canary) {
				t.Errorf("the canary sings of %q:\n%s", document, said)
			}
		}
	}
}

func TestURL_HidesOnlyThePassword(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"postgres://relay:pw@localhost:5432/app?sslmode=require", "postgres://relay:***@localhost:5432/app?sslmode=require"},
		{"postgresql://relay:p%40w:x@h1:1,h2:2/app", "postgresql://relay:***@h1:1,h2:2/app"},
		{"postgres://localhost/app", "postgres://localhost/app"},
		{"postgres://relay@/app?host=/run&password=pw", "postgres://relay@/app?host=/run&password=***"},
		{"postgres://h/app?pass%77ord=pw", "postgres://h/app?pass%77ord=***"},
		{"postgres://relay:p@w@localhost/app", "postgres://***"},
		{"postgres://relay:p/w@localhost/app", "postgres://***"},
		{"postgres://relay:p?w@localhost/app", "postgres://***"},
		{"postgres://relay:p#w@localhost/app", "postgres://***"},
		{"host=h password=pw user=u", "host=h password=*** user=u"},
		{"host = h password = 'p w' user=u", "host=h password=*** user=u"},
		{`password='p\' w' host=h`, "password=*** host=h"},
		{`password=p\ w host=h`, "password=*** host=h"},
		{"host=h password='pw", "***"},
		{"host=h password=p w", "***"},
		{"mysql://root:pw@host/app", "***"},
		{"just a string", "***"},
		{`"postgres://relay:pw@localhost/app?sslmode=require"`, "***"},
		{" postgres://relay:pw@localhost/app?sslmode=require", "***"},
		{"POSTGRES://relay:pw@localhost/app?sslmode=require", "***"},
		{"search_path=a plan.cache_mode=b", "search_path=a plan.cache_mode=***"},
	}
	for _, test := range tests {
		if got := URL(test.in).String(); got != test.want {
			t.Errorf("%s prints as %s, wanted %s", test.in, got, test.want)
		}
	}
}

func TestSecret_EmptyPrintsAsEmpty(t *testing.T) {
	if got := fmt.Sprintf("%v|%#v|%q", Secret(""), Secret(""), Secret("")); got != `|""|""` {
		t.Error(got)
	}
	if reflect.TypeFor[Secret]().Kind() != reflect.String {
		t.Error("a secret has to be assignable from text")
	}
}
