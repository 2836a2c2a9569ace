//go:build linux

package acceptance

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/youmark/pkcs8"
)

const (
	kafkaIsAway    = "Kafka is not available, waiting"
	kafkaIsBack    = "Kafka is available again"
	postgresIsAway = "PostgreSQL is not available, waiting"
	postgresIsBack = "PostgreSQL is available again"
)

// refused waits until the relay says why it cannot work, in one line with these words, and checks that it waits.
func (d *daemon) refused(phrase string, words ...string) {
	d.t.Helper()
	said := d.saysSoon(phrase, 30*time.Second)
	for _, word := range words {
		if !strings.Contains(said.text, word) {
			d.t.Errorf("%q is not in: %s", word, said.text)
		}
	}
	d.t.Log(said.text)
}

// cured waits until the relay goes on by itself, and checks that it did not repeat itself meanwhile.
func (d *daemon) cured(away, back string) {
	d.t.Helper()
	d.saysSoon(back, 60*time.Second)
	if n := len(d.said(away)); n != 1 {
		d.t.Errorf("%d lines about one fault, want one", n)
	}
}

// fault is something wrong between the relay and a server: what the relay says of it, and what ends it.
type fault struct {
	name  string
	env   []string
	words []string // of the one line
	cure  func(*securedSite)
	hide  []string
}

func (s *securedSite) heals(t *testing.T, f fault, away, back string) {
	t.Run(f.name, func(t *testing.T) {
		s := s.as(t)
		d := s.relay(s.binary, f.env...)
		d.refused(away, f.words...)
		f.cure(s)
		d.cured(away, back)
		s.delivers(d)
		d.stop(20 * time.Second)
		d.silentAbout(append(f.hide, saslPassword, "right-client-secret", "PRIVATE KEY")...)
	})
}

func TestSecured_Kafka(t *testing.T) {
	s := newSecuredSite(t)
	s.may(kmsg.ACLResourceTypeTopic, s.topic, kadm.ACLPatternLiteral, kadm.OpWrite, kadm.OpDescribe)
	s.withEach(t, testSecuredKafka)
}

func testSecuredKafka(t *testing.T, s *securedSite) {
	for name, env := range map[string][]string{
		"TLS":                               s.tls(tlsOnly),
		"mutual TLS":                        s.mutual("client", s.authority.issue("relay", nil)),
		"mutual TLS, a key with a password": s.lockedKey(),
	} {
		t.Run(name, func(t *testing.T) { s.as(t).works(env) })
	}

	other := string(must(os.ReadFile(newAuthority(t, "another").file))(t))
	right := string(must(os.ReadFile(s.authority.file))(t))
	s.heals(t, fault{
		name: "an authority that did not sign", words: []string{"unknown authority", "kafka.tls.ca_file"},
		env:  append(s.tls(tlsOnly), "RELAY_KAFKA_TLS_CA_FILE="+s.file("ca.pem", other)),
		cure: func(s *securedSite) { s.file("ca.pem", right) },
	}, kafkaIsAway, kafkaIsBack)
	s.brokerIs(elsewhere)
	s.heals(t, fault{
		name: "a certificate for another host", words: []string{"cannot validate certificate for 127.0.0.1"}, env: s.tls(tlsOnly),
		cure: func(s *securedSite) { s.brokerIs(nil) },
	}, kafkaIsAway, kafkaIsBack)
	s.brokerIs(expired)
	s.heals(t, fault{
		name: "an expired certificate", words: []string{"expired"}, env: s.tls(tlsOnly),
		cure: func(s *securedSite) { s.brokerIs(nil) },
	}, kafkaIsAway, kafkaIsBack)
	s.heals(t, fault{
		name: "an expired certificate of the relay's own", words: []string{"the certificate in kafka.tls.cert_file expired at"},
		env:  s.mutual("rotated", s.authority.issue("relay", expired)),
		cure: func(s *securedSite) { s.mutual("rotated", s.authority.issue("relay", nil)) },
	}, kafkaIsAway, kafkaIsBack)
	t.Run("no certificate of its own where one is asked for", func(t *testing.T) {
		d := s.as(t).relay(s.binary, s.tls(mutualTLS)...)
		d.refused(kafkaIsAway, "asks for a certificate of ours")
		d.stop(20 * time.Second) // it may hold the lease, and the next one would wait for its end
	})
}

func TestSecured_KafkaLogin(t *testing.T) {
	s := newSecuredSite(t)
	s.may(kmsg.ACLResourceTypeTopic, s.topic, kadm.ACLPatternLiteral, kadm.OpWrite, kadm.OpDescribe)
	s.withEach(t, testSecuredKafkaLogin)
}

func testSecuredKafkaLogin(t *testing.T, s *securedSite) {
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		env, file := s.login(mechanism, "wrong-password")
		s.heals(t, fault{
			name: mechanism + ", another password", env: env, words: []string{"refuses the credentials"}, hide: []string{"wrong-password"},
			cure: func(s *securedSite) { writeFile(s.t, file, []byte(saslPassword)) },
		}, kafkaIsAway, kafkaIsBack)
	}
	env, file := s.oauth("wrong-client-secret")
	s.heals(t, fault{
		name: "OAUTHBEARER, another client secret", env: env, words: []string{"there is no token to log in with: kafka.sasl.token_url refuses"}, hide: []string{"wrong-client-secret", "eyJ"},
		cure: func(s *securedSite) { writeFile(s.t, file, []byte("right-client-secret")) },
	}, kafkaIsAway, kafkaIsBack)
	s.provider.down.Store(true)
	s.heals(t, fault{
		name: "OAUTHBEARER, the token endpoint is down", env: env, words: []string{"kafka.sasl.token_url answers 503"}, hide: []string{"eyJ"},
		cure: func(s *securedSite) { s.provider.down.Store(false) },
	}, kafkaIsAway, kafkaIsBack)
	t.Run("the mechanism is not offered", func(t *testing.T) {
		s := s.as(t)
		d := s.relay(s.binary, s.tls(tlsOnly, "RELAY_KAFKA_SASL_MECHANISM=PLAIN", "RELAY_KAFKA_SASL_USERNAME=relay",
			"RELAY_KAFKA_SASL_PASSWORD="+saslPassword)...)
		d.refused(kafkaIsAway)
		d.stop(20 * time.Second)
		d.silentAbout(saslPassword)
	})
	t.Run("a password that is changed while the relay runs", func(t *testing.T) {
		s := s.as(t)
		env, file := s.login("SCRAM-SHA-512", saslPassword)
		d := s.relay(s.binary, env...)
		s.delivers(d)
		s.passwordIs("changed-password")
		defer s.passwordIs(saslPassword) // for the next client
		s.cluster.KillNode(0)
		if err := s.cluster.StartNode(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		s.insert(1)
		eventually(t, "the relay says that it is refused", 90*time.Second, func() bool {
			for _, l := range d.lines() {
				if strings.Contains(l.text, "refuses the credentials") {
					return true
				}
			}
			return false
		})
		writeFile(t, file, []byte("changed-password"))
		s.settled(d, s.ask("select count(*) from outbox.events"), 90*time.Second)
		d.stop(20 * time.Second)
		d.silentAbout("changed-password", saslPassword)
	})
}

// works runs a relay that delivers, and has nothing to say.
func (s *securedSite) works(env []string) {
	s.t.Helper()
	d := s.relay(s.binary, env...)
	s.delivers(d)
	if started := d.saysSoon("starting", time.Second); s.client != "" && !strings.Contains(started.text, `"client":"`+s.client+" ") {
		s.t.Errorf("it did not run %s: %s", s.client, started.text)
	}
	d.stop(20 * time.Second)
	for _, l := range d.lines() {
		if l.Level != "info" {
			s.t.Errorf("said %s", l.text)
		}
	}
}

// mutual is the environment of a relay with a certificate of its own.
func (s *securedSite) mutual(name string, id identity) []string {
	cert, key := s.authority.save(name, id)
	return s.tls(mutualTLS, "RELAY_KAFKA_TLS_CERT_FILE="+cert, "RELAY_KAFKA_TLS_KEY_FILE="+key)
}

// lockedKey is mutual, with a key that a password opens.
func (s *securedSite) lockedKey() []string {
	id := s.authority.issue("relay", nil)
	id.key = locked(s.t, id.key, "right-key-password")
	return append(s.mutual("locked", id), "RELAY_KAFKA_TLS_KEY_PASSWORD_FILE="+s.file("key-password", "right-key-password"))
}

// locked encrypts a PKCS #8 key.
func locked(t testing.TB, key []byte, password string) []byte {
	t.Helper()
	plain, _ := pem.Decode(key)
	private := must(x509.ParsePKCS8PrivateKey(plain.Bytes))(t)
	return pemOf("ENCRYPTED PRIVATE KEY", must(pkcs8.ConvertPrivateKeyToPKCS8(private, []byte(password)))(t))
}
