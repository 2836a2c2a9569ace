//go:build cgo

package librdkafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

// lookWithin bounds a look for the reason of a failure.
const lookWithin = 2 * time.Second

const (
	codeTLS       = -181
	codeTransport = -195
)

// explained is an error of Ping in words that tell what to do. librdkafka says of every certificate that it "could not
// be verified", of a client certificate that is missing that the connection broke, and of a token endpoint that is
// down nothing at all; so this looks itself, and connects once more for that. The secrets stay here: it logs in
// nowhere. ctx is Ping's, and may be over.
func explained(ctx context.Context, cfg publisher.Config, last *publisher.Error) *publisher.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return last
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookWithin)
	defer cancel()
	if cfg.TLS.Enabled && (last.Code() == codeTLS || last.Code() == codeTransport) {
		if why := tlsTrouble(ctx, cfg); why != "" {
			return publisher.NewError(publisher.ClassAuthentication, "TLS with the broker does not come about: "+why)
		}
	}
	// An authority that only librdkafka knows of would be a false alarm here.
	_, ownCA := cfg.Properties["https.ca.location"]
	if cfg.SASL.Mechanism == "OAUTHBEARER" && last.Code() == 0 && !ownCA {
		if why := tokenTrouble(ctx, cfg.SASL.TokenURL); why != "" {
			return publisher.NewError(publisher.ClassTransport, "there is no token to log in with: "+why)
		}
	}
	return last
}

// tlsTrouble shakes hands with each broker and says what is wrong with a certificate; "" when nothing was found.
func tlsTrouble(ctx context.Context, cfg publisher.Config) string {
	if why := ownCertificate(cfg.TLS.CertFile); why != "" {
		return why
	}
	roots, err := authorities(cfg.TLS.CAFile)
	if err != nil {
		return "kafka.tls.ca_file: " + err.Error()
	}
	for _, broker := range cfg.Brokers {
		if why := handshake(ctx, broker, roots, cfg.TLS.CertFile == ""); why != "" {
			return why
		}
	}
	return ""
}

// handshake says what is wrong with the certificate of a broker, or that it wants one of ours and there is none.
func handshake(ctx context.Context, broker string, roots *x509.CertPool, unknown bool) string {
	host, _, _ := net.SplitHostPort(broker)
	asked := false
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: host,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return new(tls.Certificate), nil
		}}}
	conn, err := dialer.DialContext(ctx, "tcp", broker)
	if err == nil {
		conn.Close()
	}
	if refused, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		why := fmt.Sprintf("the certificate of %s is refused: %s", broker, refused.Err)
		if _, ok := errors.AsType[x509.UnknownAuthorityError](refused.Err); ok {
			why += "; name in kafka.tls.ca_file the authority that signed it"
		}
		return why
	}
	if asked && unknown {
		return broker + " asks for a certificate of ours; name it in kafka.tls.cert_file and kafka.tls.key_file"
	}
	return ""
}

// ownCertificate says whether ours is out of date. A broker that refuses it says no more than that.
func ownCertificate(file string) string {
	if file == "" {
		return ""
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "kafka.tls.cert_file: " + err.Error()
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return ""
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	switch now := time.Now(); {
	case err != nil:
		return ""
	case now.After(cert.NotAfter):
		return fmt.Sprintf("the certificate in kafka.tls.cert_file expired at %s", cert.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(cert.NotBefore):
		return fmt.Sprintf("the certificate in kafka.tls.cert_file is not valid before %s", cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return ""
}

// authorities are those of a file; nil, the system's, without one.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("there is no certificate in it")
	}
	return pool, nil
}

// tokenTrouble says whether the token endpoint is there at all; it gets no secret. "" when it answers: what it says to
// a client that asks for a token, librdkafka tells.
func tokenTrouble(ctx context.Context, url string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return ""
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}}
	answer, err := client.Do(request)
	if err != nil {
		return "kafka.sasl.token_url cannot be reached: " + innermost(err).Error()
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusInternalServerError {
		return "kafka.sasl.token_url answers " + answer.Status
	}
	return ""
}

// innermost is the cause alone: what is around it repeats the URL.
func innermost(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// plainly is a text of librdkafka's with our names for what it speaks of, and without its own state.
func plainly(text string) string {
	if i := strings.LastIndex(text, " (after "); i > 0 && strings.HasSuffix(text, ")") {
		text = text[:i]
	}
	text = strings.NewReplacer("ssl.ca.location", "kafka.tls.ca_file", "ssl.certificate.location", "kafka.tls.cert_file",
		"ssl.key.location", "kafka.tls.key_file", "ssl.key.password", "kafka.tls.key_password_file",
		"sasl.oauthbearer.token.endpoint.url", "kafka.sasl.token_url").Replace(text)
	return strings.TrimSpace(strings.ReplaceAll(text, "\n", " "))
}
