//go:build linux

package acceptance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/process"
)

// authority signs certificates for one test. Its files are readable by whoever the servers run as.
type authority struct {
	t      testing.TB
	folder string
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	file   string // its certificate
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t, folder: t.TempDir(), key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)}
	if account := must(process.Unprivileged("postgres", "nobody"))(t); account != nil {
		if err := account.LetThrough(must(os.MkdirTemp(a.folder, ""))(t)); err != nil {
			t.Fatal(err)
		}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key))(t)
	a.cert = must(x509.ParseCertificate(der))(t)
	a.file = filepath.Join(a.folder, "ca.pem")
	a.write(a.file, pemOf("CERTIFICATE", der))
	return a
}

// identity is a certificate and its key, as PEM.
type identity struct{ cert, key []byte }

// issue signs a certificate for a common name, good for 127.0.0.1 as server and client; change says otherwise.
func (a *authority) issue(name string, change func(*x509.Certificate)) identity {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(a.t)
	der := must(x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key))(a.t)
	return identity{pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))(a.t))}
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }

func elsewhere(c *x509.Certificate) {
	c.IPAddresses, c.DNSNames = nil, []string{"elsewhere.example.com"}
}

// save writes name.pem and name.key, for the account that PostgreSQL runs as and for root, and gives their paths.
func (a *authority) save(name string, id identity) (cert, key string) {
	a.t.Helper()
	cert, key = filepath.Join(a.folder, name+".pem"), filepath.Join(a.folder, name+".key")
	a.write(cert, id.cert)
	a.write(key, id.key)
	if account := must(process.Unprivileged("postgres", "nobody"))(a.t); account != nil {
		if err := os.Chown(key, account.UID, account.GID); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := os.Chmod(key, 0o600); err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// both writes name.both.pem, key and certificate in one, as Kafka wants them.
func (a *authority) both(name string, id identity) string {
	a.t.Helper()
	path := filepath.Join(a.folder, name+".both.pem")
	a.write(path, append(id.key, id.cert...))
	return path
}

func (a *authority) write(path string, text []byte) { writeFile(a.t, path, text) }

func writeFile(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
