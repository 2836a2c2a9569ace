//go:build linux

package acceptance

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/publisher/clients"
)

// The listeners of a secured Kafka, beside the plain one, on which everybody is the superuser ANONYMOUS.
const (
	tlsOnly   = "TLS"    // who the client is does not matter; ANONYMOUS too
	mutualTLS = "MUTUAL" // the principal is CN=relay
	loggedIn  = "LOGIN"  // TLS and each SASL mechanism
)

const saslPassword = "right-horse-battery"

// securedSite is a site whose Kafka has TLS, SASL and access rules.
type securedSite struct {
	*site
	binary    string
	cluster   *kafka.Cluster
	authority *authority
	provider  *identityProvider
	folder    string // for what the relay reads
	client    string // kafka.client of the relays; "" is the default
}

func newSecuredSite(t *testing.T) *securedSite {
	t.Helper()
	binary := setUp(t)
	s := &securedSite{binary: binary, authority: newAuthority(t, "authority of the test"), folder: t.TempDir(),
		provider: newIdentityProvider(t, "relay", "right-client-secret")}
	s.authority.both("broker", s.authority.issue("broker", nil))
	s.cluster = must(kafka.Start(context.Background(), kafka.Options{
		Listeners:  []kafka.Listener{{Name: tlsOnly, Protocol: "SSL"}, {Name: mutualTLS, Protocol: "SSL"}, {Name: loggedIn, Protocol: "SASL_SSL"}},
		Scram:      map[string]string{"relay": saslPassword},
		Properties: s.properties(),
		JavaFlags:  []string{"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=" + s.provider.URL + "/keys"},
	}))(t)
	t.Cleanup(s.cluster.Stop)
	s.site = newSite(t, s.cluster, encrypted(s.authority))
	return s
}

func (s *securedSite) properties() map[string]string {
	p := map[string]string{
		"ssl.keystore.type": "PEM", "ssl.keystore.location": filepath.Join(s.authority.folder, "broker.both.pem"),
		"ssl.truststore.type": "PEM", "ssl.truststore.location": s.authority.file,
		"ssl.allow.san.changes":   "true", // a test gives the broker a certificate for another host
		"sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
		"authorizer.class.name":   "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":             "User:ANONYMOUS;User:CN=relay",
	}
	const of = "org.apache.kafka.common.security."
	for name, value := range map[string]string{
		"mutual.ssl.client.auth":                               "required",
		"login.plain.sasl.jaas.config":                         of + `plain.PlainLoginModule required user_relay="` + saslPassword + `";`,
		"login.scram-sha-256.sasl.jaas.config":                 of + "scram.ScramLoginModule required;",
		"login.scram-sha-512.sasl.jaas.config":                 of + "scram.ScramLoginModule required;",
		"login.oauthbearer.sasl.jaas.config":                   of + "oauthbearer.OAuthBearerLoginModule required;",
		"login.oauthbearer.sasl.server.callback.handler.class": of + "oauthbearer.OAuthBearerValidatorCallbackHandler",
		"login.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": s.provider.URL + "/keys",
	} {
		p["listener.name."+name] = value
	}
	return p
}

// tls is the environment of a relay that comes by a listener and trusts the authority.
func (s *securedSite) tls(listener string, more ...string) []string {
	env := []string{
		"RELAY_KAFKA_BROKERS=" + strings.Join(s.cluster.BrokersOf(listener), ","),
		"RELAY_KAFKA_TLS_ENABLED=true", "RELAY_KAFKA_TLS_CA_FILE=" + s.authority.file,
	}
	if s.client != "" {
		env = append(env, "RELAY_KAFKA_CLIENT="+s.client)
	}
	return append(env, more...)
}

// withEach runs a test with each Kafka client of the build, on the one site.
func (s *securedSite) withEach(t *testing.T, test func(*testing.T, *securedSite)) {
	for _, client := range clients.All() {
		t.Run(client.Name(), func(t *testing.T) {
			s := s.as(t)
			s.client = client.Name()
			test(t, s)
		})
	}
}

// login is the environment of one that logs in with a password, and the file that it is in.
func (s *securedSite) login(mechanism, password string) (env []string, file string) {
	file = s.file("password."+mechanism, password)
	return s.tls(loggedIn, "RELAY_KAFKA_SASL_MECHANISM="+mechanism, "RELAY_KAFKA_SASL_USERNAME=relay",
		"RELAY_KAFKA_SASL_PASSWORD_FILE="+file), file
}

// oauth is the environment of one that logs in with tokens, and the file of its client secret.
func (s *securedSite) oauth(secret string) (env []string, file string) {
	file = s.file("client-secret", secret)
	return s.tls(loggedIn, "RELAY_KAFKA_SASL_MECHANISM=OAUTHBEARER", "RELAY_KAFKA_SASL_CLIENT_ID=relay",
		"RELAY_KAFKA_SASL_CLIENT_SECRET_FILE="+file, "RELAY_KAFKA_SASL_TOKEN_URL="+s.provider.URL+"/token",
		"RELAY_KAFKA_SASL_SCOPE=kafka"), file
}

// file writes what the relay reads.
func (s *securedSite) file(name, text string) string {
	path := filepath.Join(s.folder, name)
	writeFile(s.t, path, []byte(text+"\n"))
	return path
}

// brokerIs gives the broker's TLS listeners another certificate, while it runs.
func (s *securedSite) brokerIs(change func(*x509.Certificate)) {
	s.t.Helper()
	file := s.authority.both("broker", s.authority.issue("broker", change))
	for _, listener := range []string{tlsOnly, mutualTLS, loggedIn} {
		name := "listener.name." + strings.ToLower(listener) + ".ssl.keystore.location"
		answer := must(s.admin.AlterBrokerConfigs(context.Background(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &file}}, 1))(s.t)
		for _, one := range answer {
			if one.Err != nil {
				s.t.Fatalf("give the broker another certificate: %v: %s", one.Err, one.ErrMessage)
			}
		}
	}
}

// may gives the principal User:relay rights: operations on one resource, by name or prefix.
func (s *securedSite) may(kind kmsg.ACLResourceType, name string, pattern kadm.ACLPattern, operations ...kadm.ACLOperation) {
	s.t.Helper()
	for _, r := range must(s.admin.CreateACLs(context.Background(), s.rule(kind, name, pattern, operations)))(s.t) {
		if r.Err != nil {
			s.t.Fatalf("allow %v on %s: %v", operations, name, r.Err)
		}
	}
}

// mayNot takes them away again.
func (s *securedSite) mayNot(kind kmsg.ACLResourceType, name string, pattern kadm.ACLPattern, operations ...kadm.ACLOperation) {
	s.t.Helper()
	for _, r := range must(s.admin.DeleteACLs(context.Background(), s.rule(kind, name, pattern, operations)))(s.t) {
		if r.Err != nil || len(r.Deleted) == 0 {
			s.t.Fatalf("take %v on %s away: %d rules, %v", operations, name, len(r.Deleted), r.Err)
		}
	}
}

func (s *securedSite) rule(kind kmsg.ACLResourceType, name string, pattern kadm.ACLPattern, operations []kadm.ACLOperation) *kadm.ACLBuilder {
	b := kadm.NewACLs().Allow("User:relay").AllowHosts("*").ResourcePatternType(pattern).Operations(operations...)
	switch kind {
	case kmsg.ACLResourceTypeTopic:
		b.Topics(name)
	case kmsg.ACLResourceTypeTransactionalId:
		b.TransactionalIDs(name)
	}
	return b
}

// delivers inserts an event and waits until it is in Kafka.
func (s *securedSite) delivers(d *daemon) {
	s.t.Helper()
	s.insert(1)
	before := s.ask("select count(*) from outbox.events")
	s.settled(d, before, time.Minute)
}

func (s *securedSite) insert(n int) {
	s.t.Helper()
	conn := s.connect()
	if _, err := conn.Exec(context.Background(), "insert into outbox.events (topic, key, payload) select $1, i::text, '{}' from generate_series(1, $2) i", s.topic, n); err != nil {
		s.t.Fatal(err)
	}
}

// silentAbout fails when a text is anywhere in the log.
func (d *daemon) silentAbout(secrets ...string) {
	d.t.Helper()
	text := string(must(os.ReadFile(d.log))(d.t))
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			d.t.Errorf("a secret is in the log")
		}
	}
}

// as is the site for a test within the test.
func (s *securedSite) as(t *testing.T) *securedSite {
	inner, site := *s, &site{t: t, pg: s.pg, url: s.url, brokers: s.brokers, topic: s.topic, admin: s.admin}
	inner.site = site
	return &inner
}

// passwordIs changes the SCRAM password of the relay's user.
func (s *securedSite) passwordIs(password string) {
	s.t.Helper()
	for _, mechanism := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
		answer := must(s.admin.AlterUserSCRAMs(context.Background(), nil, []kadm.UpsertSCRAM{{
			User: "relay", Mechanism: mechanism, Iterations: 4096, Password: password,
		}}))(s.t)
		if err := answer["relay"].Err; err != nil {
			s.t.Fatalf("change the password: %v", err)
		}
	}
}
