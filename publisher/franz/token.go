package franz

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/certs"
)

const (
	tokenWithin = 10 * time.Second
	// tokenBytes is more than any token; what is longer is none.
	tokenBytes = 1 << 20
)

// tokens fetches access tokens with our client credentials, and keeps each until four fifths of its time are over.
type tokens struct {
	sasl   publisher.SASL
	client *http.Client

	mu    sync.Mutex
	token string
	until time.Time
}

func tokenMechanism(s publisher.SASL, t publisher.Tuning) (sasl.Mechanism, error) {
	roots, err := certs.Authorities(t.TokenCAFile)
	if err != nil {
		return nil, fmt.Errorf("kafka.properties: https.ca.location: %w", err)
	}
	if t.TokenCA != "" {
		if roots, err = certs.Parsed([]byte(t.TokenCA)); err != nil {
			return nil, fmt.Errorf("kafka.properties: https.ca.pem: %w", err)
		}
	}
	f := &tokens{sasl: s, client: &http.Client{
		Timeout: tokenWithin,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		// Where it leads, nobody has checked that the secret may go.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	return oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
		token, err := f.get(ctx)
		return oauth.Auth{Token: token, Extensions: t.TokenExtensions}, err
	}), nil
}

func (f *tokens) get(ctx context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.token != "" && time.Now().Before(f.until) {
		return f.token, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if f.sasl.Scope != "" {
		form.Set("scope", f.sasl.Scope)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.sasl.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", publisher.NewError(publisher.ClassConfiguration, "kafka.sasl.token_url is not a URL")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	request.SetBasicAuth(url.QueryEscape(f.sasl.ClientID), url.QueryEscape(f.sasl.ClientSecret))
	answer, err := f.client.Do(request)
	if err != nil {
		return "", noToken(publisher.ClassTransport, "kafka.sasl.token_url cannot be reached: "+certs.Innermost(err).Error())
	}
	defer answer.Body.Close()
	return f.read(answer)
}

// read takes the token from an answer. Errors do not repeat what the answer says: it may repeat the secret.
func (f *tokens) read(answer *http.Response) (string, error) {
	switch {
	case answer.StatusCode >= http.StatusInternalServerError:
		return "", noToken(publisher.ClassTransport, "kafka.sasl.token_url answers "+answer.Status)
	case answer.StatusCode != http.StatusOK:
		return "", noToken(publisher.ClassAuthentication, "kafka.sasl.token_url refuses: "+answer.Status)
	}
	var content struct {
		Token   string      `json:"access_token"`
		Expires json.Number `json:"expires_in"` // Microsoft writes it in quotes
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, tokenBytes)).Decode(&content); err != nil || content.Token == "" {
		return "", noToken(publisher.ClassAuthentication, "kafka.sasl.token_url answers with something else than a token")
	}
	seconds, _ := content.Expires.Float64() // 0 where it is not said: each connection gets a token of its own
	f.token = content.Token
	f.until = time.Now().Add(time.Duration(min(seconds, 1e6) * 0.8 * float64(time.Second)))
	return f.token, nil
}

func noToken(class, why string) error {
	return publisher.NewError(class, "there is no token to log in with: "+why)
}
