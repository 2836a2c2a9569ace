package contract

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/publisher"
)

// RunSecurity holds a client to what publisher.Client.Ping promises about who is who, and to the words in which it says
// what is wrong, all in this process. Its tests run side by side.
func RunSecurity(t *testing.T, client publisher.Client) {
	for name, test := range map[string]func(*testing.T, publisher.Client){
		"TellsAwayFromRefused":           testRefusedLogin,
		"TrustsOnlyTheGivenAuthority":    testAuthority,
		"SaysWhichCertificateIsWrong":    testCertificates,
		"SaysWhyThereIsNoToken":          testTokens,
		"SaysWhatIsWrongWithItsOwnFiles": testFiles,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, client)
		})
	}
}

func ping(t *testing.T, client publisher.Client, cfg publisher.Config, within time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return client.Ping(ctx, cfg)
}

func testRefusedLogin(t *testing.T, client publisher.Client) {
	fake := StartFake(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "relay", "right"), kfake.User("PLAIN", "plain", "right"))
	cfg := Config(t, fake.ListenAddrs())
	for _, c := range []struct {
		mechanism, user, password string
		refused                   bool
	}{
		{"SCRAM-SHA-512", "relay", "right", false},
		{"PLAIN", "plain", "right", false},
		{"PLAIN", "plain", "wr0ng", true},
	} {
		cfg.SASL = publisher.SASL{Mechanism: c.mechanism, Username: c.user, Password: c.password}
		err := ping(t, client, cfg, 5*time.Second)
		// kfake cuts the connection of a wrong password without a word, where Kafka says why: so its class is not asked.
		if (err != nil) != c.refused {
			t.Errorf("%s, %s: %v", c.mechanism, c.password, err)
		}
		if err != nil && strings.Contains(err.Error(), c.password) {
			t.Errorf("the password is in the error: %v", err)
		}
	}
	err := ping(t, client, Config(t, []string{"127.0.0.1:1"}), 700*time.Millisecond)
	if publisher.Class(err) != publisher.ClassTransport || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("where nobody listens: %s", publisher.Reason(err))
	}
}

func testAuthority(t *testing.T, client publisher.Client) {
	id := NewIdentity(t, "broker", nil)
	fake := StartFake(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{id.Pair}}))
	cfg := Config(t, fake.ListenAddrs())
	cfg.TLS = publisher.TLS{Enabled: true, CAFile: id.CertFile}
	if err := ping(t, client, cfg, 5*time.Second); err != nil {
		t.Errorf("with its authority: %v", err)
	}
	cfg.TLS.CAFile = ""
	if err := ping(t, client, cfg, 5*time.Second); publisher.Class(err) != publisher.ClassAuthentication {
		t.Errorf("with the system's authorities: %s", publisher.Reason(err))
	}
}

func testCertificates(t *testing.T, client publisher.Client) {
	good := NewIdentity(t, "good", nil)
	old := NewIdentity(t, "old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
	early := NewIdentity(t, "early", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	foreign := NewIdentity(t, "foreign", func(c *x509.Certificate) {
		c.IPAddresses, c.DNSNames = nil, []string{"elsewhere.example.com"}
	})
	server := func(id Identity, ask tls.ClientAuthType) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{id.Pair}, ClientAuth: ask}
	}
	for name, c := range map[string]struct {
		server *tls.Config
		client publisher.TLS
		want   string
	}{
		"unknown authority": {server(good, tls.NoClientCert), publisher.TLS{CAFile: foreign.CertFile}, "name in kafka.tls.ca_file"},
		"expired":           {server(old, tls.NoClientCert), publisher.TLS{CAFile: old.CertFile}, "has expired"},
		"another host":      {server(foreign, tls.NoClientCert), publisher.TLS{CAFile: foreign.CertFile}, "cannot validate certificate for 127.0.0.1"},
		"none of ours": {server(good, tls.RequireAnyClientCert), publisher.TLS{CAFile: good.CertFile},
			"asks for a certificate of ours; name it in kafka.tls.cert_file"},
		"ours expired": {server(good, tls.RequireAndVerifyClientCert),
			publisher.TLS{CAFile: good.CertFile, CertFile: old.CertFile, KeyFile: old.KeyFile}, "kafka.tls.cert_file expired at"},
		"ours is not valid yet": {server(good, tls.RequireAndVerifyClientCert),
			publisher.TLS{CAFile: good.CertFile, CertFile: early.CertFile, KeyFile: early.KeyFile}, "kafka.tls.cert_file is not valid before"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := Config(t, []string{tlsServer(t, c.server)})
			cfg.TLS = c.client
			cfg.TLS.Enabled = true
			err := ping(t, client, cfg, 2*time.Second)
			if publisher.Class(err) != publisher.ClassAuthentication || !strings.Contains(err.Error(), "TLS with the broker does not come about: ") ||
				!strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", publisher.Class(err), err, c.want)
			}
		})
	}
}

// tlsServer shakes hands and says nothing.
func tlsServer(t *testing.T, cfg *tls.Config) (address string) {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				_, _ = io.Copy(io.Discard, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

// What counts is that the endpoint is asked with our credentials, that the error says what it did, and that neither its
// answer nor the error tells the secret on.
func testTokens(t *testing.T, client publisher.Client) {
	var asked atomic.Int64
	var status atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, secret, ok := r.BasicAuth(); ok && user == "client" && secret == "s3cret" {
			asked.Add(1)
		}
		http.Error(w, `{"error":"no, s3cret is wrong"}`, int(status.Load()))
	}))
	defer server.Close()
	fake := StartFake(t, kfake.EnableSASL())
	fake.ControlKey(int16(kmsg.SASLHandshake), func(request kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		return request.ResponseKind(), nil, true // it would say that it does not offer OAUTHBEARER
	})
	for _, c := range []struct {
		name, url   string
		status      int
		class, want string
	}{
		{"refused", server.URL, http.StatusUnauthorized, publisher.ClassAuthentication, "kafka.sasl.token_url refuses"},
		{"down", server.URL, http.StatusServiceUnavailable, publisher.ClassTransport, "kafka.sasl.token_url answers 503"},
		{"gone", "http://127.0.0.1:1/token?secret=s3cret", 0, publisher.ClassTransport, "kafka.sasl.token_url cannot be reached"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status.Store(int64(c.status))
			asked.Store(0)
			cfg := Config(t, fake.ListenAddrs())
			cfg.SASL = publisher.SASL{Mechanism: "OAUTHBEARER", ClientID: "client", ClientSecret: "s3cret", TokenURL: c.url}
			err := ping(t, client, cfg, 3*time.Second)
			if publisher.Class(err) != c.class || !strings.Contains(err.Error(), "there is no token to log in with: "+c.want) {
				t.Errorf("%s: %v, want %q", publisher.Class(err), err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the secret is in the error: %v", err)
			}
			if c.status != 0 && asked.Load() == 0 {
				t.Errorf("the token endpoint was not asked: %v", err)
			}
		})
	}
}

func testFiles(t *testing.T, client publisher.Client) {
	one, another := NewIdentity(t, "one", nil), NewIdentity(t, "another", nil)
	cfg := Config(t, []string{"127.0.0.1:1"})
	cfg.TLS = publisher.TLS{Enabled: true, CAFile: one.CertFile, CertFile: one.CertFile, KeyFile: another.KeyFile}
	for name, sasl := range map[string]publisher.SASL{"without a login": {}, "with tokens": {Mechanism: "OAUTHBEARER", ClientID: "relay", ClientSecret: "secret",
		TokenURL: "http://127.0.0.1:1/token"}} {
		cfg.SASL = sasl
		if err := ping(t, client, cfg, 5*time.Second); publisher.Class(err) != publisher.ClassConfiguration || !strings.Contains(err.Error(), "key") {
			t.Errorf("ping %s: %s: %v", name, publisher.Class(err), err)
		}
		if p, err := client.Open(cfg, &recorder{}); err == nil || !strings.Contains(err.Error(), "key") {
			t.Errorf("open %s: %v, %v", name, p, err)
		}
	}
}
