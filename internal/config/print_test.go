package config

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

const everyKind = `
[kafka]
brokers = ["a:1", "b:2"]
[kafka.properties]
"linger.ms" = "7"
reconnect.backoff.ms = 9000
[outbox]
name = "quote \" and \\ and \u007f"
[[topics.create]]
name = "a"
partitions = 3
replication_factor = -1
config = {"retention.ms" = "5", cleanup.policy = "compact"}
[[topics.create]]
name = "b"
partitions = 1
replication_factor = 1
`

func TestWriteTOML_IsAFileThatMeansTheSame(t *testing.T) {
	first, err := Load(write(t, everyKind), []string{place, "RELAY_LEASE_TTL=17s"})
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	if err := first.WriteTOML(&printed); err != nil {
		t.Fatal(err)
	}
	second, err := Load(write(t, printed.String()), nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, &printed)
	}
	again := keysOf(second)
	for i, k := range keysOf(first) {
		got, want := again[i].field.Interface(), k.field.Interface()
		if topics, ok := got.([]CreateTopic); ok && topics[1].Config == nil {
			topics[1].Config = want.([]CreateTopic)[1].Config
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %v after printing, was %v", k.path, got, want)
		}
	}
	for _, where := range []string{`ttl = "17s"  # RELAY_LEASE_TTL`, `relay.toml:3`} {
		if !strings.Contains(printed.String(), where) {
			t.Errorf("%q is missing in\n%s", where, &printed)
		}
	}
}

func TestWriteJSON_HasEveryKey(t *testing.T) {
	cfg, err := Load(write(t, everyKind), []string{"RELAY_POSTGRES_URL=postgres://u:pw@localhost/app"})
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	if err := cfg.WriteJSON(&printed); err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(printed.Bytes(), &root); err != nil {
		t.Fatal(err)
	}
	for _, k := range keysOf(cfg) {
		var value any = root
		for part := range strings.SplitSeq(k.path, ".") {
			table, _ := value.(map[string]any)
			value = table[part]
		}
		if value == nil {
			t.Errorf("%s is missing", k.path)
		}
	}
	if url := root["postgres"].(map[string]any)["url"]; url != "postgres://u:***@localhost/app" {
		t.Errorf("url %v", url)
	}
}

func TestSecretFiles_AreReadAtEachUse(t *testing.T) {
	urlFile := writeFile(t, "url", "postgres://u:first@localhost/app\n")
	password := writeFile(t, "password", "first\n")
	cfg, err := Load(write(t, ""), []string{
		"RELAY_POSTGRES_URL_FILE=" + urlFile, "RELAY_KAFKA_SASL_MECHANISM=SCRAM-SHA-256",
		"RELAY_KAFKA_SASL_USERNAME=u", "RELAY_KAFKA_SASL_PASSWORD_FILE=" + password,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"first", "second"} {
		overwrite(t, urlFile, "postgres://u:"+secret+"@localhost/app\n")
		overwrite(t, password, secret+"\n")
		conn, err := cfg.Postgres.ConnString()
		if err != nil || conn != "postgres://u:"+secret+"@localhost/app" {
			t.Errorf("connection string %q: %v", conn, err)
		}
		kafka, err := cfg.Kafka.Publisher()
		if err != nil || kafka.SASL.Password != secret {
			t.Errorf("password %q: %v", kafka.SASL.Password, err)
		}
	}
	if err := os.Remove(password); err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.Kafka.Publisher(); err == nil || !strings.Contains(err.Error(), "kafka.sasl.password_file: read ") {
		t.Errorf("with the file gone: %v", err)
	}
}

func overwrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
