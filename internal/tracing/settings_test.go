package tracing_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/tracing"
	"github.com/outboxrelay/relay/internal/tracing/tracingtest"
)

func TestSampled_ReadsWhatTheStandardWrites(t *testing.T) {
	const id = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
	for text, want := range map[string]bool{
		"00-" + id + "-01": true, "00-" + id + "-03": true, "00-" + id + "-00": false, "00-" + id + "-02": false,
		"cc-" + id + "-01": true, "cc-" + id + "-01-more": true, "cc-" + id + "-01.more": false, "ff-" + id + "-01": false,
		"00-" + id + "-01-more": false, "00-" + id + "-0": false, "00-" + id + "-0x": false, "": false, "00-ab": false,
		"00-" + strings.ToUpper(id) + "-01":                             false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01":       false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01":       false,
		"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":       false,
		"00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01":       false,
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01":       false,
		"00-0af7651916cd43dd8448eb211c80319 -b7ad6b7169203331-01":       false,
		"0A-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":       false,
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\x00":   false,
		"  00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01    ": false,
	} {
		if _, got := tracing.Sampled([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestResolve_LaysOurEndpointOverTheVariables(t *testing.T) {
	for _, c := range []struct {
		name, own, want string
		env             []string
	}{
		{"ours", "http://a:4318", "http://a:4318/v1/traces", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://b", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}},
		{"ours, whole", "https://a/x/v1/traces", "https://a/x/v1/traces", nil},
		{"ours, whole, with a query", "https://a/v1/traces?key=b", "https://a/v1/traces?key=b", nil},
		{"ours, whole, with a slash", "https://a/v1/traces/", "https://a/v1/traces/", nil},
		{"ours, with a query", "https://a/x?key=/v1/traces", "https://a/x/v1/traces?key=/v1/traces", nil},
		{"for all signals", "", "http://b:4318/otlp/v1/traces", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://b:4318/otlp/"}},
		{"for traces, as it is", "", "http://c/in", []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c/in", "OTEL_EXPORTER_OTLP_ENDPOINT=http://b"}},
		{"the last of a name counts", "", "http://d/v1/traces", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://b", "OTEL_EXPORTER_OTLP_ENDPOINT=http://d"}},
	} {
		s, err := tracing.Resolve(c.own, c.env, nil)
		if err != nil || s.Endpoint.String() != c.want {
			t.Errorf("%s: %v %v", c.name, s.Endpoint, err)
		}
	}
	for _, env := range [][]string{nil, {"OTEL_EXPORTER_OTLP_ENDPOINT="}, {"OTEL_EXPORTER_OTLP_ENDPOINT=http://b", "OTEL_SDK_DISABLED=true"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://b", "OTEL_TRACES_EXPORTER=none"}} {
		if _, err := tracing.Resolve("", env, nil); !errors.Is(err, tracing.ErrOff) {
			t.Errorf("%q: %v", env, err)
		}
	}
}

func TestResolve_NamesWhatCannotBeUsedWithoutItsValue(t *testing.T) {
	for _, c := range []struct{ own, env, names string }{
		{"localhost:4318", "", "tracing.endpoint"},
		{"http://user:geheim@a", "", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"", "OTEL_EXPORTER_OTLP_ENDPOINT=geheim", "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{"http://a", "OTEL_EXPORTER_OTLP_TIMEOUT=10s", "OTEL_EXPORTER_OTLP_TIMEOUT"},
		{"http://a", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION=geheim", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"},
		{"http://a", "OTEL_EXPORTER_OTLP_HEADERS=geheim", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"http://a", "OTEL_EXPORTER_OTLP_HEADERS=a=geheim%0d%0ab", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"http://a", "OTEL_EXPORTER_OTLP_HEADERS=a b=geheim", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"http://a", "OTEL_RESOURCE_ATTRIBUTES=geheim", "OTEL_RESOURCE_ATTRIBUTES"},
	} {
		_, err := tracing.Resolve(c.own, []string{c.env}, nil)
		if err == nil || !strings.Contains(err.Error(), c.names) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q %q: %v", c.own, c.env, err)
		}
	}
	_, err := tracing.Resolve("", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://a:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, nil)
	if err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf") {
		t.Errorf("gRPC: %v", err)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"} {
		s, err := tracing.Resolve("https://a", []string{name + "=/nowhere"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tracing.NewExporter(s); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExporter_DoesWhatTheVariablesSay(t *testing.T) {
	c := tracingtest.New(t)
	tracer, end := tracerFor(t, c.URL, 10, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20geheim, x-team=a",
		"OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=live,service.name=other",
		"OTEL_SERVICE_NAME=shop-relay")
	s := begin(t, tracer)
	tracer.End(&s)
	end()
	if len(c.Spans()) != 1 {
		t.Fatalf("%d spans", len(c.Spans()))
	}
	requests, headers := c.Requests()
	if h := headers[0]; h.Get("Authorization") != "Bearer geheim" || h.Get("X-Team") != "a" || h.Get("Content-Encoding") != "gzip" {
		t.Errorf("headers %v", h)
	}
	about := map[string]string{}
	for _, a := range requests[0].ResourceSpans[0].Resource.Attributes {
		if _, twice := about[a.Key]; twice {
			t.Errorf("%s is said twice", a.Key)
		}
		about[a.Key] = a.Value.GetStringValue()
	}
	if about["service.name"] != "shop-relay" || about["deployment.environment.name"] != "live" || about["service.version"] != "v9" {
		t.Errorf("%v", about)
	}
}

func TestExporter_ProbeSaysWhatIsWrong(t *testing.T) {
	c := tracingtest.New(t)
	probe := func(endpoint string, env ...string) error {
		s, err := tracing.Resolve(endpoint, env, nil)
		if err != nil {
			t.Fatal(err)
		}
		e, err := tracing.NewExporter(s)
		if err != nil {
			t.Fatal(err)
		}
		return e.Probe(t.Context())
	}
	if err := probe(c.URL); err != nil {
		t.Error(err)
	}
	c.Answers(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.Header.Get("x"), "redirect") {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return false
	})
	if err := probe(c.URL); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("%v", err)
	}
	// A collector elsewhere must not get what was meant for this one.
	if err := probe(c.URL, "OTEL_EXPORTER_OTLP_HEADERS=x=redirect"); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("%v", err)
	}
	c.Answers(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return false })
	began := time.Now()
	if err := probe(c.URL, "OTEL_EXPORTER_OTLP_TIMEOUT=50"); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}
