//go:build linux

package acceptance

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// identityProvider hands out tokens by the client credentials grant, and the keys that they can be checked with.
type identityProvider struct {
	*httptest.Server
	t      testing.TB
	key    *rsa.PrivateKey
	secret atomic.Value // string: what the client must know now
	down   atomic.Bool  // answers 503
	life   time.Duration
	issued atomic.Int64
}

func newIdentityProvider(t testing.TB, client, secret string) *identityProvider {
	t.Helper()
	p := &identityProvider{t: t, key: must(rsa.GenerateKey(rand.Reader, 2048))(t), life: 10 * time.Minute}
	p.secret.Store(secret)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.answer(w, map[string]any{"keys": []map[string]string{{
			"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": b64(p.key.N.Bytes()), "e": b64(big.NewInt(int64(p.key.E)).Bytes()),
		}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case p.down.Load():
			http.Error(w, "out of order", http.StatusServiceUnavailable)
		case user != client || password != p.secret.Load():
			w.WriteHeader(http.StatusUnauthorized)
			p.answer(w, map[string]any{"error": "invalid_client", "error_description": "wrong client or secret"})
		default:
			p.issued.Add(1)
			p.answer(w, map[string]any{"access_token": p.token(client), "token_type": "Bearer", "expires_in": int(p.life.Seconds())})
		}
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *identityProvider) answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

// token is a JWT that names the client as its subject.
func (p *identityProvider) token(subject string) string {
	now := time.Now()
	head := must(json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": "1"}))(p.t)
	claims := must(json.Marshal(map[string]any{
		"sub": subject, "scope": "kafka", "iat": now.Unix(), "exp": now.Add(p.life).Unix(), "jti": fmt.Sprint(now.UnixNano()),
	}))(p.t)
	signed := b64(head) + "." + b64(claims)
	sum := sha256.Sum256([]byte(signed))
	return signed + "." + b64(must(rsa.SignPKCS1v15(rand.Reader, p.key, crypto.SHA256, sum[:]))(p.t))
}

func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }
