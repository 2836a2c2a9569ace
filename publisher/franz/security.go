package franz

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"github.com/youmark/pkcs8"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/certs"
)

// saslMechanism says who we are; nil where nobody asks.
func saslMechanism(cfg publisher.Config, t publisher.Tuning) (sasl.Mechanism, error) {
	s := cfg.SASL
	switch s.Mechanism {
	case "":
		return nil, nil
	case "PLAIN":
		return plain.Auth{User: s.Username, Pass: s.Password}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.Username, Pass: s.Password}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: s.Username, Pass: s.Password}.AsSha512Mechanism(), nil
	case "OAUTHBEARER":
		return tokenMechanism(s, t)
	}
	return nil, fmt.Errorf("SASL mechanism %q: use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER", s.Mechanism)
}

// handshaker makes TLS on a connection. Its errors say what to do.
func handshaker(t publisher.TLS) (func(context.Context, net.Conn, string) (net.Conn, error), error) {
	roots, err := certs.Authorities(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("kafka.tls.ca_file: %w", err)
	}
	own, err := certificate(t)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		asked := false
		c := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked = true
				if own == nil {
					return new(tls.Certificate), nil
				}
				return own, nil
			}})
		if err := c.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, explainedTLS(err, address, t.CertFile, asked)
		}
		return refusable{c, address, t.CertFile, asked}, nil
	}, nil
}

// refusable is a TLS connection on which the broker may still refuse our certificate: with TLS 1.3 that comes after the
// handshake.
type refusable struct {
	*tls.Conn
	address string
	own     string // path of our certificate, or ""
	asked   bool   // the broker asked for it
}

// Read explains a refusal.
func (c refusable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && isAlert(err) {
		err = explainedTLS(err, c.address, c.own, c.asked)
	}
	return n, err
}

func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// explainedTLS says what is wrong with a certificate, and what to do; other errors stay as they are.
func explainedTLS(err error, address, own string, asked bool) error {
	why := certs.Refused(err, address)
	switch {
	case why != "":
	case isAlert(err) && asked && own == "":
		why = certs.Wanted(address)
	case isAlert(err):
		if why = certs.OutOfDate(own); why == "" {
			why = address + " refuses: " + certs.Innermost(err).Error() + "; check kafka.tls.cert_file"
		}
	default:
		if _, plainText := errors.AsType[tls.RecordHeaderError](err); !plainText {
			return err
		}
		why = address + " does not speak TLS; set kafka.tls.enabled = false, or use the port that does"
	}
	return certs.Trouble(why)
}

// certificate is ours; nil without one.
func certificate(t publisher.TLS) (*tls.Certificate, error) {
	if t.CertFile == "" {
		return nil, nil
	}
	cert, err := os.ReadFile(t.CertFile)
	if err != nil {
		return nil, fmt.Errorf("kafka.tls.cert_file: %w", err)
	}
	key, err := os.ReadFile(t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("kafka.tls.key_file: %w", err)
	}
	if t.KeyPasswordFile != "" {
		if key, err = decrypted(key, t.KeyPasswordFile); err != nil {
			return nil, err
		}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("kafka.tls.cert_file and key_file: %w", err)
	}
	return &pair, nil
}

// decrypted is a PKCS #8 key without its password.
func decrypted(key []byte, passwordFile string) ([]byte, error) {
	password, err := os.ReadFile(passwordFile)
	if err != nil {
		return nil, fmt.Errorf("kafka.tls.key_password_file: %w", err)
	}
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errors.New("kafka.tls.key_file: it is not PEM")
	}
	if block.Headers["DEK-Info"] != "" {
		return nil, errors.New("kafka.tls.key_file: it has the encryption of old OpenSSL, which proves no password right; " +
			"write it anew with: openssl pkcs8 -topk8 -in old.pem -out new.pem")
	}
	if block.Type != "ENCRYPTED PRIVATE KEY" {
		return key, nil
	}
	parsed, err := pkcs8.ParsePKCS8PrivateKey(block.Bytes, []byte(strings.TrimRight(string(password), "\r\n")))
	if err != nil {
		return nil, errors.New("kafka.tls.key_file: it cannot be decrypted with the password in kafka.tls.key_password_file")
	}
	plain, err := x509.MarshalPKCS8PrivateKey(parsed)
	if err != nil {
		return nil, fmt.Errorf("kafka.tls.key_file: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: plain}), nil
}
