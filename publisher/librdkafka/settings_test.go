//go:build cgo

package librdkafka

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

func TestCheckProperties_AsksTheLibraryForTheRest(t *testing.T) {
	errs := CheckProperties(map[string]string{
		"acks": "1", "no.such.property": "1", "socket.timeout.ms": "soon", "linger.ms": "5s", "batch.size": "1000",
		"sasl.oauthbearer.grant.type": "kanarienvogel",
	})
	var text []string
	for _, err := range errs {
		text = append(text, err.Error())
	}
	for i, want := range []string{"acks is refused: always all", `linger.ms is refused: "5s" is not a number`,
		"no.such.property is refused: librdkafka " + Version() + " has no such property",
		"sasl.oauthbearer.grant.type is refused: librdkafka does not take its value", "socket.timeout.ms is refused: librdkafka does not take"} {
		if len(errs) != 5 || !strings.Contains(text[i], want) {
			t.Fatalf("%q; want %q", text, want)
		}
	}
	if strings.Contains(strings.Join(text, "\n"), "kanarienvogel") {
		t.Errorf("a value that may be a secret is shown: %q", text)
	}
}

func TestCheck_FindsWhatDoesNotFitTogether(t *testing.T) {
	for _, c := range []struct {
		properties map[string]string
		want       string
	}{
		{map[string]string{"reconnect.backoff.ms": "5000"}, "`reconnect.backoff.max.ms` must be"},
		{map[string]string{"reconnect.backoff.ms": "5000", "reconnect.backoff.max.ms": "10000"}, ""},
		{map[string]string{"linger.ms": "60000"}, "`message.timeout.ms`, which relay sets, must be greater than `linger.ms`"},
		{map[string]string{"batch.size": "0x100"}, "batch.size"},
		{map[string]string{"ssl.cipher.suites": "none-such"}, "ssl.cipher.suites failed"},
	} {
		cfg := contract.Config(t, []string{"127.0.0.1:1"})
		cfg.Properties, cfg.TLS.Enabled = c.properties, true
		cfg.SASL = publisher.SASL{Mechanism: "OAUTHBEARER", ClientID: "id", ClientSecret: "s", TokenURL: "http://127.0.0.1:1/token"}
		if err := Check(cfg); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: %v; want %q", c.properties, err, c.want)
		}
	}
}

// A transaction learns only from these lines that a commit may have been sent twice.
func TestProducerSettings_TransactionsHearOfBrokenConnections(t *testing.T) {
	cfg := contract.Config(t, []string{"127.0.0.1:1"})
	cfg.TransactionalID = "t"
	cfg.Properties = map[string]string{"log_level": "3", "log.connection.close": "false"}
	m, err := producerSettings(cfg)
	if err != nil || m["log_level"] != "6" || m["log.connection.close"] != "true" {
		t.Errorf("%v, %v, %v", m["log_level"], m["log.connection.close"], err)
	}
}

// The library would write them as JSON every few seconds, also while the relay rests, and nobody reads them.
func TestProducerSettings_AskForNoStatistics(t *testing.T) {
	m, err := producerSettings(contract.Config(t, []string{"127.0.0.1:1"}))
	if every, asked := m["statistics.interval.ms"]; err != nil || asked {
		t.Errorf("statistics every %v ms, %v", every, err)
	}
}

func TestOpen_RefusesWhatWouldBreakDelivery(t *testing.T) {
	for name, value := range map[string]string{"enable.idempotence": "false", "max.in.flight": "50", "no.such": "1"} {
		cfg := contract.Config(t, []string{"127.0.0.1:1"})
		cfg.Properties = map[string]string{name: value}
		if p, err := Open(cfg, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, value, err)
			if p != nil {
				p.Close()
			}
		}
	}
	cfg := contract.Config(t, []string{"127.0.0.1:1"})
	cfg.MessageTimeout = time.Millisecond
	if _, err := Open(cfg, nil); err == nil {
		t.Error("a message timeout of a millisecond was taken")
	}
}

func TestProducerSettings_OursWinOverTheUsers(t *testing.T) {
	cfg := contract.Config(t, []string{"a:1", "b:2"})
	cfg.Properties = map[string]string{"linger.ms": "7", "socket.timeout.ms": "9000"}
	m, err := producerSettings(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"bootstrap.servers": "a:1,b:2", "enable.idempotence": true, "acks": "all", "max.in.flight": "5",
		"enable.gapless.guarantee": true, "allow.auto.create.topics": false, "message.timeout.ms": 20000,
		"linger.ms": "7", "socket.timeout.ms": "9000", "security.protocol": "plaintext",
	} {
		if m[name] != want {
			t.Errorf("%s = %v, want %v", name, m[name], want)
		}
	}
}

func TestSecuritySettings_MapTLSAndSASL(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("hidden\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := contract.Config(t, []string{"a:1"})
	cfg.TLS = publisher.TLS{Enabled: true, CertFile: "c.pem", KeyFile: "k.pem", KeyPasswordFile: password}
	cfg.SASL = publisher.SASL{Mechanism: "OAUTHBEARER", ClientID: "id", ClientSecret: "s3cret", TokenURL: "https://x/t", Scope: "kafka"}
	m := kafka.ConfigMap{}
	if err := securitySettings(m, cfg); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"security.protocol": "sasl_ssl", "ssl.ca.location": "probe", "ssl.certificate.location": "c.pem",
		"ssl.key.location": "k.pem", "ssl.key.password": "hidden", "sasl.mechanism": "OAUTHBEARER",
		"sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.client.id": "id",
		"sasl.oauthbearer.client.secret": "s3cret", "sasl.oauthbearer.token.endpoint.url": "https://x/t",
		"sasl.oauthbearer.scope": "kafka",
	} {
		if m[name] != want {
			t.Errorf("%s = %v, want %v", name, m[name], want)
		}
	}
	if got := newVoice(cfg, m).Clean("token s3cret, key hidden"); got != "token [secret], key [secret]" {
		t.Errorf("a secret stays in a text: %s", got)
	}
	cfg.SASL.Mechanism = "GSSAPI"
	if err := securitySettings(kafka.ConfigMap{}, cfg); err == nil {
		t.Error("GSSAPI was taken")
	}
}

func TestVersion_IsNewEnough(t *testing.T) {
	if err := checkVersion(); err != nil || Version() == "" {
		t.Errorf("librdkafka %q: %v", Version(), err)
	}
}
