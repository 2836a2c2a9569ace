package config

import (
	"encoding"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// otherValues are texts that differ from the defaults of keys whose values are restricted.
var otherValues = map[string]string{
	"postgres.url":                 "host=localhost dbname=other",
	"outbox.delivery":              ExactlyOnce,
	"outbox.wake":                  WakePoll,
	"outbox.schema":                "other",
	"kafka.client":                 ClientFranz,
	"kafka.compression":            "gzip",
	"kafka.timestamp":              TimestampCreated,
	"kafka.brokers":                "one:1, two:2",
	"topics.allow":                 "one, two*",
	"parked.on_dead":               OnDeadSkip,
	"retention.schedule":           "0 * * * *",
	"audit.schedule":               "0 0 * * *",
	"http.listen":                  "",
	"tracing.max_spans_per_second": "17",
	"console.enabled":              "false",
	"log.level":                    "debug",
	"log.format":                   "json",
}

func TestEnvironment_OverridesEveryKeyOfTheFile(t *testing.T) {
	document, err := readLimited(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, k := range keysOf(Default()) {
		if other, taken := names[EnvName(k.path)]; taken {
			t.Errorf("%s and %s share a variable", k.path, other)
		}
		names[EnvName(k.path)] = k.path
		switch k.field.Interface().(type) {
		case Properties, []CreateTopic:
			continue
		}
		t.Run(k.path, func(t *testing.T) {
			text, restricted := otherValues[k.path]
			if !restricted {
				text = otherText(k.field)
			}
			cfg := Default()
			r := &report{origins: map[string]origin{}}
			decodeFile(document, cfg, r)
			decodeEnv([]string{EnvName(k.path) + "=" + text}, cfg, r)
			if len(r.faults) > 0 {
				t.Fatal(Faults(r.faults))
			}
			changed := changedKeys(cfg)
			if !slices.Equal(changed, []string{k.path}) {
				t.Errorf("%s changed %v", EnvName(k.path), changed)
			}
		})
	}
}

func otherText(field reflect.Value) string {
	switch field.Interface().(type) {
	case Duration:
		return "17s"
	case Size:
		return "17MiB"
	case bool:
		return "true"
	}
	if _, isText := field.Addr().Interface().(encoding.TextUnmarshaler); isText {
		panic("a value of a kind that this test does not know")
	}
	return "other"
}

func changedKeys(cfg *Config) []string {
	var changed []string
	defaults := keysOf(Default())
	for i, k := range keysOf(cfg) {
		if !reflect.DeepEqual(k.field.Interface(), defaults[i].field.Interface()) {
			changed = append(changed, k.path)
		}
	}
	return changed
}

func TestEnvironment_IsEnoughWithoutAFile(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg, err := Load("", []string{
		"RELAY_POSTGRES_URL=postgres://relay@localhost/app", "RELAY_KAFKA_BROKERS=a:9092,b:9092", "RELAY_HTTP_LISTEN=", "PATH=/bin",
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(cfg.Kafka.Brokers, []string{"a:9092", "b:9092"}) || cfg.HTTP.Listen != "" {
		t.Errorf("brokers %v, listen %q", cfg.Kafka.Brokers, cfg.HTTP.Listen)
	}
	if _, err = Load("", []string{"PGHOST=/run/postgresql"}); err != nil {
		t.Errorf("with PGHOST: %v", err)
	}
}

// Kafka's own clients take a host alone, and so does the contract: RELAY_KAFKA_BROKERS=a,b.
func TestBrokers_WithoutAPortHaveTheUsualOne(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg, err := Load("", []string{place, "RELAY_KAFKA_BROKERS=a,b:9093,[::1],[::1]:9094"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a:9092", "b:9093", "[::1]:9092", "[::1]:9094"}; !slices.Equal(cfg.Kafka.Brokers, want) {
		t.Errorf("%q, want %q", cfg.Kafka.Brokers, want)
	}
	for _, broker := range []string{"::1", "a:", "a b", "kafka://a"} {
		if _, err := Load("", []string{place, "RELAY_KAFKA_BROKERS=" + broker}); err == nil {
			t.Errorf("%q was taken", broker)
		}
	}
}

// A variable wins over the file, also over the key that its own key excludes.
func TestEnvironment_WinsOverTheOtherKeyOfAPair(t *testing.T) {
	t.Chdir(t.TempDir())
	secret := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(secret, []byte("postgres://relay@localhost/secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ document, env, want string }{
		{"[postgres]\nurl_file = \"/nowhere\"", "RELAY_POSTGRES_URL=postgres://relay@localhost/app", "postgres://relay@localhost/app"},
		{"[postgres]\nurl = \"not a URL\"", "RELAY_POSTGRES_URL_FILE=" + secret, "postgres://relay@localhost/secret"},
		{"[postgres]\nurl_file = 7", "RELAY_POSTGRES_URL=postgres://relay@localhost/app", "postgres://relay@localhost/app"},
		{"[postgres]\nurl_file = \"" + secret + "\"", "RELAY_POSTGRES_URL=", "postgres://relay@localhost/secret"}, // nothing takes no place
	} {
		file := filepath.Join(t.TempDir(), "relay.toml")
		if err := os.WriteFile(file, []byte(c.document), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(file, []string{c.env})
		if err != nil {
			t.Errorf("%s under %s: %v", c.document, c.env, err)
			continue
		}
		if got, err := cfg.Postgres.ConnString(); err != nil || got != c.want {
			t.Errorf("%s under %s: %s, %v", c.document, c.env, got, err)
		}
	}
	cfg := Default()
	for _, pair := range exclusive {
		for i, path := range pair {
			r := &report{origins: map[string]origin{}}
			decodeEnv([]string{EnvName(pair[1-i]) + "=one"}, cfg, r)
			r.origins[pair[1-i]] = origin{line: 1}
			decodeEnv([]string{EnvName(path) + "=other"}, cfg, r)
			if changed := changedKeys(cfg); !slices.Equal(changed, []string{path}) {
				t.Errorf("%s left %v", path, changed)
			}
			*cfg = *Default()
		}
	}
}

// libpq goes to this address whatever the host's name says. The relay does not, and would be somewhere else.
func TestPostgres_RefusesHostAddresses(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, env := range [][]string{
		{"PGHOSTADDR=10.0.0.1"}, {"PGHOSTADDR=10.0.0.1", "PGHOST=db"}, {"PGHOSTADDR=10.0.0.1", "RELAY_POSTGRES_URL=dbname=app"},
		{"RELAY_POSTGRES_URL=host=localhost hostaddr=10.0.0.1"}, {"RELAY_POSTGRES_URL=postgres://localhost/app?hostaddr=10.0.0.1"},
	} {
		if _, err := Load("", env); err == nil || !strings.Contains(err.Error(), "write the address as the host") {
			t.Errorf("%v: %v", env, err)
		}
	}
	if _, err := Load("", []string{"PGHOSTADDR=10.0.0.1"}, PostgresOptional); err != nil {
		t.Errorf("where no database is needed: %v", err)
	}
	if _, err := Load("", []string{"PGHOSTADDR=", place}); err != nil {
		t.Errorf("set to nothing: %v", err)
	}
}

// A Service called relay, or relay-metrics, puts these into every pod of its namespace, the relay's own among them.
func TestEnvironment_IgnoresWhatKubernetesSets(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{
		"RELAY_SERVICE_HOST", "RELAY_SERVICE_PORT", "RELAY_SERVICE_PORT_HTTP", "RELAY_PORT", "RELAY_PORT_9187_TCP",
		"RELAY_PORT_9187_TCP_PROTO", "RELAY_PORT_9187_TCP_PORT", "RELAY_PORT_9187_TCP_ADDR",
		"RELAY_METRICS_SERVICE_HOST", "RELAY_METRICS_PORT_80_TCP_ADDR", faultSwitch, mutantSwitch,
	} {
		if _, err := Load("", []string{place, name + "=tcp://10.0.0.1:9187"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"RELAY_PORTS", "RELAY_SERVICE", "RELAY_KAFKA_PORT_9092", "RELAY_FAULTS"} {
		if _, err := Load("", []string{place, name + "=x"}); err == nil {
			t.Errorf("%s was ignored", name)
		}
	}
}
