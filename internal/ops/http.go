package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/outboxrelay/relay/internal/ops/console"
	"github.com/outboxrelay/relay/internal/relay"
	"github.com/outboxrelay/relay/internal/tracing"
)

// Server answers /livez, /readyz, /status and /metrics from what the relay tells about itself. Only the console, where there is one, changes anything.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Sources are what a server tells of. Each is asked at each request, from many goroutines.
type Sources struct {
	Report func() relay.Report
	// Status is what relay status --json prints.
	Status func(context.Context) (any, error)
	// Outbox is the part of the same that metrics tell.
	Outbox func(context.Context) (Outbox, error)
	// Spans counts spans of traces; nil without tracing.
	Spans func() tracing.Counts
	// Console answers everything else; nil for nothing.
	Console http.Handler
}

// Listen takes the address, "" for none, so that a port in use is told before anything is delivered.
func Listen(address string, from Sources) (*Server, error) {
	if address == "" {
		return &Server{}, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("http.listen: %w: choose another address, or \"\" for none", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { ready(w, from.Report()) })
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) { page(w, r, from.Status) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry(from), promhttp.HandlerOpts{}))
	if from.Console != nil {
		mux.Handle("/", from.Console)
	}
	return &Server{listener: listener, http: &http.Server{Handler: console.Local(address, mux), ReadTimeout: 5 * time.Second,
		WriteTimeout: 15 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}}, nil
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

// ready says whether this replica leads and delivers, or follows a leader that is alive; if not, why. Warnings are what
// a person should know and a load balancer should not act on.
func ready(w http.ResponseWriter, r relay.Report) {
	reasons, warnings := []string{}, []string{}
	switch {
	case !r.PostgresUp:
		reasons = append(reasons, "postgres_down")
	case r.Leading && !r.KafkaUp:
		reasons = append(reasons, "kafka_down")
	case r.Leading && !r.InSession:
		reasons = append(reasons, "no_session")
	case !r.Leading && !r.Following:
		reasons = append(reasons, "no_leader")
	}
	if r.AuditDifference != 0 {
		warnings = append(warnings, "audit_difference")
	}
	status := http.StatusOK
	if len(reasons) > 0 {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, map[string]any{"ready": len(reasons) == 0, "leading": r.Leading, "reasons": reasons,
		"warnings": warnings, "last_error": r.LastError})
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
