// Package tracingtest is a collector of traces for tests: it takes OTLP over HTTP and keeps what comes.
package tracingtest

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/outboxrelay/relay/internal/tracing"
)

// Collector is a receiver for OTLP over HTTP on 127.0.0.1. Safe for concurrent use.
type Collector struct {
	URL string

	t        testing.TB
	mu       sync.Mutex
	requests []*collector.ExportTraceServiceRequest
	headers  []http.Header
	answer   func(http.ResponseWriter, *http.Request) bool
}

// New starts a collector that ends with the test.
func New(t testing.TB) *Collector {
	c := &Collector{t: t}
	server := httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

func (c *Collector) serve(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	var err error
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, err = gzip.NewReader(r.Body)
	}
	var raw []byte
	if err == nil {
		raw, err = io.ReadAll(body)
	}
	var request collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(raw, &request)
	}
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.t.Errorf("no export of traces: %s %s: %v", r.URL, r.Header, err)
	}
	c.mu.Lock()
	answer := c.answer
	c.mu.Unlock()
	if answer != nil && !answer(w, r) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests, c.headers = append(c.requests, &request), append(c.headers, r.Header)
}

// Answers replaces the usual answer, 200 without a body. answer says whether the request is to be kept.
func (c *Collector) Answers(answer func(http.ResponseWriter, *http.Request) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// Requests are those that were kept, with their headers, in the order of coming.
func (c *Collector) Requests() ([]*collector.ExportTraceServiceRequest, []http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*collector.ExportTraceServiceRequest(nil), c.requests...), append([]http.Header(nil), c.headers...)
}

// Spans are all that were kept, in the order of coming.
func (c *Collector) Spans() (spans []*trace.Span) {
	requests, _ := c.Requests()
	for _, r := range requests {
		for _, about := range r.ResourceSpans {
			for _, scope := range about.ScopeSpans {
				spans = append(spans, scope.Spans...)
			}
		}
	}
	return spans
}

// Attributes are a span's, as text: numbers and truths too.
func Attributes(s *trace.Span) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes {
		all[a.Key] = a.Value.GetStringValue()
		if all[a.Key] == "" {
			all[a.Key] = a.Value.String()
		}
	}
	return all
}

// Run runs a tracer until the test ends or flush is called, which returns when all that is queued was sent or given up.
func Run(t testing.TB, tracer *tracing.Tracer) (flush func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := tracer.Run(ctx); err != nil {
			t.Errorf("run the tracer: %v", err)
		}
	}()
	flush = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(flush)
	return flush
}
