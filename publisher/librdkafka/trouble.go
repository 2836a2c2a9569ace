//go:build cgo

package librdkafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/certs"
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
			return certs.Trouble(why)
		}
	}
	// An authority that only librdkafka knows of would be a false alarm here.
	_, file := cfg.Properties["https.ca.location"]
	_, text := cfg.Properties["https.ca.pem"]
	if cfg.SASL.Mechanism == "OAUTHBEARER" && last.Code() == 0 && !file && !text {
		if why := tokenTrouble(ctx, cfg.SASL.TokenURL); why != "" {
			return publisher.NewError(publisher.ClassTransport, "there is no token to log in with: "+why)
		}
	}
	return last
}

// tlsTrouble shakes hands with each broker and says what is wrong with a certificate; "" when nothing was found.
func tlsTrouble(ctx context.Context, cfg publisher.Config) string {
	if why := certs.OutOfDate(cfg.TLS.CertFile); why != "" {
		return why
	}
	roots, err := certs.Authorities(cfg.TLS.CAFile)
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
	why := certs.Refused(err, broker)
	if why == "" && asked && unknown {
		why = certs.Wanted(broker)
	}
	return why
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
		return "kafka.sasl.token_url cannot be reached: " + certs.Innermost(err).Error()
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusInternalServerError {
		return "kafka.sasl.token_url answers " + answer.Status
	}
	return ""
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
