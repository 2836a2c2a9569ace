package console

import (
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
)

//go:embed assets
var assets embed.FS

// Options are what a console needs.
type Options struct {
	// API answers below /api/v1/. What changes anything there must not be a GET.
	API http.Handler
	// Token is read at each request that needs it, so that a rotated file is picked up; "" allows nothing.
	Token func() (string, error)
	// Listen is the address that the server listens on.
	Listen string
}

// Handler serves the page and guards the endpoints. [Local] is to be before it.
func Handler(o Options) http.Handler {
	files, err := fs.Sub(assets, "assets")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(files))
	mux.Handle("/api/v1/", o.API)
	g := guard{next: mux, token: o.Token, local: loopback(host(o.Listen))}
	return g
}

// guard is before everything.
type guard struct {
	next  http.Handler
	token func() (string, error)
	local bool // listens on a loopback address
}

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// ServeHTTP refuses what is not allowed, and hands the rest on.
func (g guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range map[string]string{
		"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
	} {
		w.Header().Set(name, value)
	}
	if status, why := g.refuses(r); why != "" {
		Refuse(w, status, why)
		return
	}
	g.next.ServeHTTP(w, r)
}

func (g guard) refuses(r *http.Request) (int, string) {
	if foreign(r) {
		return http.StatusForbidden, "a page of another site may not ask"
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	events := strings.HasPrefix(r.URL.Path, "/api/v1/parked") || strings.HasPrefix(r.URL.Path, "/api/v1/replays") // names their keys
	if reads && (g.local || !events) {
		return 0, ""
	}
	token, err := g.token()
	if err != nil {
		return http.StatusInternalServerError, err.Error()
	}
	if token == "" {
		return http.StatusForbidden, "there is no token, so nothing can be changed here: set console.token_file or RELAY_CONSOLE_TOKEN"
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(given))
	if !ok || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		return http.StatusUnauthorized, "this needs the token of console.token_file, as Authorization: Bearer …"
	}
	return 0, ""
}

// Local is next, and on a loopback address nothing for requests that name another host: a page of the web whose name leads
// here would read what the browser's user may.
func Local(listen string, next http.Handler) http.Handler {
	if !loopback(host(listen)) {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopback(host(r.Host)) {
			Refuse(w, http.StatusMisdirectedRequest, "this address answers for localhost and 127.0.0.1 only")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// foreign says that a browser sends the request for a page of another site.
func foreign(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != r.Host
}

func host(address string) string {
	if name, _, err := net.SplitHostPort(address); err == nil {
		return name
	}
	return strings.Trim(address, "[]")
}

func loopback(name string) bool {
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}

// Refuse answers with an error, in the form of all endpoints.
func Refuse(w http.ResponseWriter, status int, why string) {
	Answer(w, status, map[string]string{"error": why})
}

// Answer writes one JSON document.
func Answer(w http.ResponseWriter, status int, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		status, body = http.StatusInternalServerError, fmt.Appendf(nil, `{"error": %q}`, "write the answer: "+err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
