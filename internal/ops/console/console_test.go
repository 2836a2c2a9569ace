package console

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

const secret = "a-token-of-the-test"

func handler(listen, token string) (http.Handler, *int) {
	reached := 0
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { reached++; Answer(w, 200, map[string]int{"n": reached}) })
	return Local(listen, Handler(Options{API: api, Listen: listen, Token: func() (string, error) { return token, nil }})), &reached
}

func TestGuard_LetsThroughWhatMayBe(t *testing.T) {
	const local, public = "127.0.0.1:9187", "0.0.0.0:9187"
	bearer := "Bearer " + secret
	for _, c := range []struct {
		what, listen, token, method, path, host string
		headers                                 map[string]string
		status                                  int
	}{
		{"reading at home", local, secret, "GET", "/api/v1/parked", "localhost:9187", nil, 200},
		{"by IPv6", "[::1]:9187", secret, "GET", "/api/v1/status", "[::1]:9187", nil, 200},
		{"a name that leads here", local, secret, "GET", "/api/v1/status", "evil.example:9187", nil, 421},
		{"a name that begins well", local, secret, "GET", "/", "localhost.evil.example", nil, 421},
		{"changing", local, secret, "POST", "/api/v1/parked/drop", "localhost:9187", map[string]string{"Authorization": bearer, "Origin": "http://localhost:9187"}, 200},
		{"changing without a browser", local, secret, "POST", "/api/v1/parked/drop", "localhost:9187", map[string]string{"Authorization": bearer}, 200},
		{"changing without the token", local, secret, "POST", "/api/v1/parked/drop", "localhost:9187", nil, 401},
		{"changing with another token", local, secret, "POST", "/api/v1/parked/drop", "localhost:9187", map[string]string{"Authorization": bearer + "x"}, 401},
		{"the token alone", local, secret, "POST", "/api/v1/parked/drop", "localhost:9187", map[string]string{"Authorization": secret}, 401},
		{"no token is set", local, "", "POST", "/api/v1/parked/drop", "localhost:9187", map[string]string{"Authorization": "Bearer "}, 403},
		{"from another site", local, secret, "POST", "/api/v1/parked/drop", "localhost:9187", map[string]string{"Authorization": bearer, "Origin": "http://evil.example"}, 403},
		{"from another port", local, secret, "POST", "/api/v1/parked/drop", "localhost:9187", map[string]string{"Authorization": bearer, "Origin": "http://localhost:80"}, 403},
		{"from no origin", local, secret, "POST", "/api/v1/parked/drop", "localhost:9187", map[string]string{"Authorization": bearer, "Origin": "null"}, 403},
		{"read for another site", local, secret, "GET", "/api/v1/parked", "localhost:9187", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"deleting is changing", local, secret, "DELETE", "/api/v1/parked/x", "localhost:9187", nil, 401},
		{"figures from outside", public, secret, "GET", "/api/v1/status", "relay.example", nil, 200},
		{"events from outside", public, secret, "GET", "/api/v1/parked", "relay.example", nil, 401},
		{"events from outside with the token", public, secret, "GET", "/api/v1/parked/x", "relay.example", map[string]string{"Authorization": bearer}, 200},
		{"events from outside without any token", public, "", "GET", "/api/v1/parked", "relay.example", nil, 403},
		{"replays from outside", public, secret, "GET", "/api/v1/replays", "relay.example", nil, 401},
		{"any address", ":9187", secret, "GET", "/api/v1/parked", "localhost", nil, 401},
	} {
		h, reached := handler(c.listen, c.token)
		r := httptest.NewRequest(c.method, "http://"+c.host+c.path, nil)
		for name, value := range c.headers {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status || (*reached == 1) != (c.status == 200) {
			t.Errorf("%s: %d %s, reached %d; want %d", c.what, w.Code, w.Body, *reached, c.status)
		}
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s: the token is in the answer", c.what)
		}
	}
}

func TestHandler_ServesAPageThatLoadsOnlyItself(t *testing.T) {
	h, _ := handler("127.0.0.1:9187", "")
	for path, kind := range map[string]string{"/": "text/html", "/console.js": "javascript", "/console.css": "text/css"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost:9187"+path, nil))
		body, err := io.ReadAll(w.Body)
		if err != nil || w.Code != 200 || !strings.Contains(w.Header().Get("Content-Type"), kind) {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options"} {
			if w.Header().Get(name) == "" {
				t.Errorf("%s lacks the header %s", path, name)
			}
		}
		if found := regexp.MustCompile(`https?://|\son[a-z]+="|style="|innerHTML|eval\(`).FindString(strings.ReplaceAll(string(body), "http://www.w3.org/2000/svg", "")); found != "" {
			t.Errorf("%s has %q", path, found)
		}
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost:9187/../../etc/passwd", nil)); w.Code == 200 {
		t.Error("a file from outside")
	}
}
