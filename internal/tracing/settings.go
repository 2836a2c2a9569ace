package tracing

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Pair is a name with its value.
type Pair struct{ Name, Value string }

// Settings say where spans go and how.
type Settings struct {
	Endpoint *url.URL // of the traces themselves
	Headers  []Pair   // of each request; may hold secrets
	Timeout  time.Duration
	Gzip     bool
	Resource []Pair // attributes of the process
	Version  string // of the program

	caFile, certFile, keyFile string
}

// defaultTimeout is OpenTelemetry's own for one request.
const defaultTimeout = 10 * time.Second

// tracesPath is put behind an endpoint that is for all signals.
const tracesPath = "/v1/traces"

// ErrOff says that nothing asks for traces, or that something asks for none.
var ErrOff = errors.New("tracing is off")

// Resolve lays an endpoint of our own configuration, "" for none, over OpenTelemetry's standard variables ("NAME=value"
// strings, as os.Environ gives them). about are attributes of the process that a variable may override.
//
// The error is ErrOff when there is no endpoint or the variables turn tracing off. Any other names the variable or the
// key that cannot be used, and never its value.
func Resolve(endpoint string, env []string, about []Pair) (Settings, error) {
	get := func(names ...string) (name, value string) {
		for _, name := range names {
			for _, pair := range slices.Backward(env) {
				if v, ok := strings.CutPrefix(pair, name+"="); ok && strings.TrimSpace(v) != "" {
					return name, strings.TrimSpace(v)
				}
			}
		}
		return "", ""
	}
	both := func(what string) (name, value string) {
		return get("OTEL_EXPORTER_OTLP_TRACES_"+what, "OTEL_EXPORTER_OTLP_"+what)
	}
	if _, off := get("OTEL_SDK_DISABLED"); strings.EqualFold(off, "true") {
		return Settings{}, ErrOff
	}
	if _, exporter := get("OTEL_TRACES_EXPORTER"); exporter == "none" {
		return Settings{}, ErrOff
	}
	s := Settings{Timeout: defaultTimeout}
	var err error
	switch name, value := both("ENDPOINT"); {
	case endpoint != "":
		s.Endpoint, err = ParseEndpoint(endpoint)
		name = "tracing.endpoint"
		if err != nil {
			return s, fmt.Errorf("%s: %w", name, err)
		}
	case value == "":
		return s, ErrOff
	default:
		if protocolName, protocol := both("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
			return s, fmt.Errorf("%s: %q is not spoken here: set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf and the endpoint for it", protocolName, protocol)
		}
		if s.Endpoint, err = parse(value, name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); err != nil {
			return s, fmt.Errorf("%s: %w", name, err)
		}
	}
	if name, value := both("TIMEOUT"); value != "" {
		ms, err := strconv.Atoi(value)
		if err != nil || ms <= 0 {
			return s, fmt.Errorf("%s: is not a number of milliseconds above zero", name)
		}
		s.Timeout = time.Duration(ms) * time.Millisecond
	}
	switch name, value := both("COMPRESSION"); value {
	case "gzip":
		s.Gzip = true
	case "", "none":
	default:
		return s, fmt.Errorf("%s: is not gzip or none", name)
	}
	if name, value := both("HEADERS"); value != "" {
		if s.Headers, err = pairs(value); err != nil {
			return s, fmt.Errorf("%s: %w", name, err)
		}
		if slices.ContainsFunc(s.Headers, unsendable) {
			return s, fmt.Errorf("%s: a header that HTTP does not take", name)
		}
	}
	_, s.caFile = both("CERTIFICATE")
	_, s.certFile = both("CLIENT_CERTIFICATE")
	_, s.keyFile = both("CLIENT_KEY")
	s.Resource = append(s.Resource, about...)
	if name, value := get("OTEL_RESOURCE_ATTRIBUTES"); value != "" {
		attributes, err := pairs(value)
		if err != nil {
			return s, fmt.Errorf("%s: %w", name, err)
		}
		for _, a := range attributes {
			s.describe(a)
		}
	}
	if _, value := get("OTEL_SERVICE_NAME"); value != "" {
		s.describe(Pair{"service.name", value})
	}
	for _, a := range s.Resource {
		if a.Name == "service.version" {
			s.Version = a.Value
		}
	}
	return s, nil
}

// describe sets an attribute of the process.
func (s *Settings) describe(a Pair) {
	s.Resource = append(slices.DeleteFunc(s.Resource, func(b Pair) bool { return a.Name == b.Name }), a)
}

// ParseEndpoint reads the base URL of a collector; /v1/traces is put behind its path unless it is there. The error says
// what is wrong with the value, without it.
func ParseEndpoint(base string) (*url.URL, error) {
	path, _, _ := strings.Cut(base, "?")
	return parse(base, strings.HasSuffix(strings.TrimSuffix(path, "/"), tracesPath))
}

func parse(value string, whole bool) (*url.URL, error) {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("is not a URL such as http://localhost:4318")
	case u.User != nil:
		return nil, errors.New("has a user in it: write Authorization into OTEL_EXPORTER_OTLP_HEADERS")
	}
	if !whole {
		u.Path = strings.TrimSuffix(u.Path, "/") + tracesPath
	}
	return u, nil
}

// pairs reads a=1,b=2 with values in percent-encoding, as W3C Baggage writes them.
func pairs(list string) ([]Pair, error) {
	var out []Pair
	for item := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(item) == "" {
			continue
		}
		name, value, ok := strings.Cut(item, "=")
		decoded, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !ok || name == "" || err != nil {
			return nil, errors.New("is not a list such as name=value,other=value")
		}
		out = append(out, Pair{name, decoded})
	}
	return out, nil
}

// tls is nil for the system's own authorities and no certificate of ours.
func (s *Settings) tls() (*tls.Config, error) {
	if s.caFile == "" && s.certFile == "" && s.keyFile == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.caFile != "" {
		pem, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("OTEL_EXPORTER_OTLP_CERTIFICATE: there is no certificate in the file")
		}
	}
	if s.certFile != "" || s.keyFile != "" {
		own, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY: %w", err)
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c, nil
}

// unsendable says that Go's client would refuse each request with this header.
func unsendable(h Pair) bool {
	token := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}
	control := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
	return strings.ContainsFunc(h.Name, func(r rune) bool { return !token(r) }) || strings.ContainsFunc(h.Value, control)
}
