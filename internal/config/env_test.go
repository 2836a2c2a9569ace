package config

import (
	"encoding"
	"reflect"
	"slices"
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
