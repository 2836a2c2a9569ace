//go:build cgo

package librdkafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

// certificate signs itself for 127.0.0.1, and writes name.pem and name.key.
func certificate(t *testing.T, name string, change func(*x509.Certificate)) (pair tls.Certificate, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, cert, key
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
		listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

func TestPing_SaysWhichCertificateIsWrongAndWhy(t *testing.T) {
	good, goodFile, _ := certificate(t, "good", nil)
	old, oldFile, oldKey := certificate(t, "old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
	foreign, foreignFile, _ := certificate(t, "foreign", func(c *x509.Certificate) {
		c.IPAddresses, c.DNSNames = nil, []string{"elsewhere.example.com"}
	})
	for name, c := range map[string]struct {
		server *tls.Config
		client publisher.TLS
		want   string
	}{
		"unknown authority": {&tls.Config{Certificates: []tls.Certificate{good}}, publisher.TLS{CAFile: foreignFile}, "name in kafka.tls.ca_file"},
		"expired":           {&tls.Config{Certificates: []tls.Certificate{old}}, publisher.TLS{CAFile: oldFile}, "has expired"},
		"another host":      {&tls.Config{Certificates: []tls.Certificate{foreign}}, publisher.TLS{CAFile: foreignFile}, "cannot validate certificate for 127.0.0.1"},
		"none of ours": {&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert},
			publisher.TLS{CAFile: goodFile}, "asks for a certificate of ours"},
		"ours expired": {&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert},
			publisher.TLS{CAFile: goodFile, CertFile: oldFile, KeyFile: oldKey}, "kafka.tls.cert_file expired at"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := contract.Config(t, []string{tlsServer(t, c.server)})
			cfg.TLS = c.client
			cfg.TLS.Enabled = true
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			err := Ping(ctx, cfg)
			if publisher.Class(err) != publisher.ClassAuthentication || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", publisher.Class(err), err, c.want)
			}
		})
	}
}

// librdkafka ends the process when a client with tokens cannot read its TLS key; this would be the end of the tests.
func TestPing_OutlivesAKeyThatDoesNotFitItsCertificateWithTokens(t *testing.T) {
	_, cert, _ := certificate(t, "one", nil)
	_, _, key := certificate(t, "another", nil)
	cfg := contract.Config(t, []string{"127.0.0.1:1"})
	cfg.TLS = publisher.TLS{Enabled: true, CAFile: cert, CertFile: cert, KeyFile: key}
	cfg.SASL = publisher.SASL{Mechanism: "OAUTHBEARER", ClientID: "relay", ClientSecret: "secret", TokenURL: "http://127.0.0.1:1/token"}
	if err := Ping(t.Context(), cfg); publisher.Class(err) != publisher.ClassConfiguration || !strings.Contains(err.Error(), "key") {
		t.Errorf("%s: %v", publisher.Class(err), err)
	}
	if p, err := Open(cfg, nil); err == nil || !strings.Contains(err.Error(), "key") {
		t.Errorf("open: %v, %v", p, err)
	}
}

func TestTokenTrouble(t *testing.T) {
	status := http.StatusServiceUnavailable
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Method != http.MethodGet {
			t.Error("a look carries more than the address")
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	if why := tokenTrouble(t.Context(), server.URL); !strings.Contains(why, "answers 503") {
		t.Errorf("down: %q", why)
	}
	status = http.StatusMethodNotAllowed
	if why := tokenTrouble(t.Context(), server.URL); why != "" {
		t.Errorf("up: %q", why)
	}
	if why := tokenTrouble(t.Context(), "http://127.0.0.1:1/path?secret=s"); !strings.Contains(why, "connection refused") || strings.Contains(why, "secret=") {
		t.Errorf("gone: %q", why)
	}
}

func TestPlainly(t *testing.T) {
	const said = "ssl://b:9093/bootstrap: SSL handshake failed: verify that ssl.ca.location is correctly configured (after 8ms in state SSL_HANDSHAKE, 1 identical error(s) suppressed)"
	if got, want := plainly(said), "ssl://b:9093/bootstrap: SSL handshake failed: verify that kafka.tls.ca_file is correctly configured"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := plainly("nothing (of that) kind"); got != "nothing (of that) kind" {
		t.Errorf("%q", got)
	}
}
