package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	"google.golang.org/protobuf/proto"
)

// Exporter sends spans to one collector.
type Exporter struct {
	settings Settings
	about    []*common.KeyValue
	client   *http.Client
}

// NewExporter makes an exporter; it connects when there is something to send. The error is one of the files that the
// settings name.
func NewExporter(s Settings) (*Exporter, error) {
	tlsConfig, err := s.tls()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true,
		MaxConnsPerHost: 1, IdleConnTimeout: time.Minute}
	e := &Exporter{settings: s, client: &http.Client{Transport: transport, Timeout: s.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	for _, a := range s.Resource {
		e.about = append(e.about, text(a.Name, a.Value))
	}
	return e, nil
}

// Endpoint is where spans go, without the query, where some collectors want a secret.
func (e *Exporter) Endpoint() string {
	u := e.settings.Endpoint
	return u.Scheme + "://" + u.Host + u.Path
}

// Probe sends a request without spans. The error says why the collector takes none.
func (e *Exporter) Probe(ctx context.Context) error {
	defer e.close()
	_, _, err := e.export(ctx, nil)
	return err
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 10

// export sends one request. refused is how many of its spans the collector says it did not take. again says of an
// error that the same request may be taken later.
func (e *Exporter) export(ctx context.Context, spans []Span) (refused int64, again bool, err error) {
	body, err := proto.Marshal(request(e.about, e.settings.Version, spans))
	if err != nil {
		return 0, false, fmt.Errorf("encode spans: %w", err)
	}
	if e.settings.Gzip {
		body = zip(body)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.settings.Endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return 0, false, err
	}
	for _, h := range e.settings.Headers {
		req.Header.Set(h.Name, h.Value)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	if e.settings.Gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	answer, err := e.client.Do(req)
	if err != nil {
		return 0, true, withoutURL(err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	switch {
	case answer.StatusCode/100 != 2:
		return 0, retryable(answer.StatusCode), fmt.Errorf("the collector answers %s", answer.Status)
	case err != nil:
		return 0, true, fmt.Errorf("read the collector's answer: %w", err)
	}
	var response collector.ExportTraceServiceResponse
	if proto.Unmarshal(said, &response) != nil { // taken all the same
		return 0, false, nil
	}
	return min(max(response.GetPartialSuccess().GetRejectedSpans(), 0), int64(len(spans))), false, nil
}

// retryable are the answers that OTLP says to send again after.
func retryable(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func zip(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(body) // a buffer takes everything
	_ = w.Close()
	return b.Bytes()
}

// withoutURL keeps the reason of an error: its URL may have a password in it, and the caller says the place.
func withoutURL(err error) error {
	if inner, ok := errors.AsType[*url.Error](err); ok {
		return inner.Err
	}
	return err
}

func (e *Exporter) close() { e.client.CloseIdleConnections() }
