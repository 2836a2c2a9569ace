//go:build cgo

package librdkafka

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

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
