package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/outboxrelay/relay/internal/relay"
)

// Server answers /livez, /readyz, /status and /metrics from what the relay tells about itself. It changes nothing.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen takes the address, "" for none, so that a port in use is told before anything is delivered. report and status
// are asked at each request; status is what relay status --json prints.
func Listen(address string, report func() relay.Report, status func(context.Context) (any, error)) (*Server, error) {
	if address == "" {
		return &Server{}, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("http.listen: %w: choose another address, or \"\" for none", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { ready(w, report()) })
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) { page(w, r, status) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry(report), promhttp.HandlerOpts{}))
	return &Server{listener: listener, http: &http.Server{Handler: mux, ReadTimeout: 5 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}}, nil
}

// Address is where the server listens, "" when it does not.
func (s *Server) Address() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if s.http == nil {
		return nil
	}
	defer context.AfterFunc(ctx, func() {
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.http.Shutdown(closing); err != nil {
			_ = s.http.Close()
		}
	})()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http: %w", err)
	}
	return nil
}

// ready says whether this replica leads and delivers, or follows; if not, why.
func ready(w http.ResponseWriter, r relay.Report) {
	var reasons []string
	if !r.PostgresUp {
		reasons = append(reasons, "postgres_down")
	}
	if r.Leading && !r.KafkaUp {
		reasons = append(reasons, "kafka_down")
	}
	if r.Leading && !r.InSession && r.KafkaUp && r.PostgresUp {
		reasons = append(reasons, "no_session")
	}
	if r.AuditDifference > 0 {
		reasons = append(reasons, "audit_difference")
	}
	status := http.StatusOK
	if len(reasons) > 0 {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, map[string]any{"ready": len(reasons) == 0, "leading": r.Leading, "reasons": reasons, "last_error": r.LastError})
}

// page answers with the outbox as the database knows it.
func page(w http.ResponseWriter, r *http.Request, status func(context.Context) (any, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), 8*time.Second)
	defer cancel()
	report, err := status(ctx)
	if err != nil {
		answer(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, report)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// registry is the metrics of one relay, read from its report when they are asked for.
func registry(report func() relay.Report) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	gauge := func(name, help string, value func(relay.Report) float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return value(report()) }))
	}
	gauge("relay_leader", "1 while this replica leads.", func(r relay.Report) float64 { return number(r.Leading) })
	gauge("relay_epoch", "Epoch of this replica's last term.", func(r relay.Report) float64 { return float64(r.Epoch) })
	gauge("relay_in_flight_bytes", "Bytes sent and not yet acked.", func(r relay.Report) float64 { return float64(r.InFlightBytes) })
	gauge("relay_postgres_up", "1 when PostgreSQL answered the last time.", func(r relay.Report) float64 { return number(r.PostgresUp) })
	gauge("relay_kafka_up", "1 when Kafka answered the last time.", func(r relay.Report) float64 { return number(r.KafkaUp) })
	gauge("relay_audit_difference_events", "Events by which the books and the table differ, as the leader's last audit found.",
		func(r relay.Report) float64 { return float64(r.AuditDifference) })
	gauge("relay_ring_oldest_seconds", "Age of the oldest event in the ring, 0 unless this replica leads.",
		func(r relay.Report) float64 { return r.RingOldest })
	counter := func(name, help string, value func(relay.Report) int64) {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(value(report())) }))
	}
	gauge("relay_postgres_timeline", "PostgreSQL's timeline, 0 before this replica's first session.",
		func(r relay.Report) float64 { return float64(r.Timeline) })
	counter("relay_postgres_timeline_changes_total", "Times that PostgreSQL was found on another timeline: fail-overs and restores.",
		func(r relay.Report) int64 { return r.TimelineChanges })
	counter("relay_settled_lost_events_total", "Events this process had settled, which PostgreSQL lost in a fail-over.",
		func(r relay.Report) int64 { return r.SettledLost })
	registry.MustRegister(&counters{report: report,
		delivered: prometheus.NewDesc("relay_events_delivered_total", "Events delivered since this process began.", []string{"topic"}, nil),
		ends:      prometheus.NewDesc("relay_session_ends_total", "Sessions ended, by reason.", []string{"reason"}, nil)})
	return registry
}

func number(claim bool) float64 {
	if claim {
		return 1
	}
	return 0
}

// counters are the metrics whose labels are not known beforehand.
type counters struct {
	report          func() relay.Report
	delivered, ends *prometheus.Desc
}

// Describe says nothing: the metrics depend on what has happened.
func (c *counters) Describe(chan<- *prometheus.Desc) {}

// Collect reads the report.
func (c *counters) Collect(metrics chan<- prometheus.Metric) {
	r := c.report()
	for topic, n := range r.DeliveredByTopic {
		metrics <- prometheus.MustNewConstMetric(c.delivered, prometheus.CounterValue, float64(n), topic)
	}
	for reason, n := range r.SessionEnds {
		metrics <- prometheus.MustNewConstMetric(c.ends, prometheus.CounterValue, float64(n), reason)
	}
}
