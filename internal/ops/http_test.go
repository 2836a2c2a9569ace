package ops

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/outboxrelay/relay/internal/relay"
	"github.com/outboxrelay/relay/internal/tracing"
)

// serveReport runs a server that tells this report, until the test ends.
func serveReport(t *testing.T, report *relay.Report, status func(context.Context) (any, error)) (get func(path string) (int, string)) {
	t.Helper()
	server, err := Listen("127.0.0.1:0", Sources{Report: func() relay.Report { return *report }, Status: status,
		Outbox: func(context.Context) (Outbox, error) {
			if !report.PostgresUp {
				return Outbox{}, errors.New("no server")
			}
			return Outbox{Pending: 5, LagSeconds: 1.5, Parked: map[string]int64{"dead": 2, "held": 0}, RingOldestSeconds: 60}, nil
		}, Spans: func() tracing.Counts { return tracing.Counts{Exported: 8, Limited: 4, QueueFull: 2, Failed: 1} }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- server.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return func(path string) (int, string) {
		answer, err := client.Get("http://" + server.Address() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
}

func TestServer_IsReadyWhenItLeadsAndDeliversOrFollows(t *testing.T) {
	report := &relay.Report{}
	get := serveReport(t, report, nil)
	for _, step := range []struct {
		report  relay.Report
		status  int
		reasons []string
	}{
		{relay.Report{}, 503, []string{"postgres_down"}},
		{relay.Report{PostgresUp: true}, 503, []string{"no_leader"}},
		{relay.Report{PostgresUp: true, Following: true}, 200, nil},
		{relay.Report{PostgresUp: true, Following: true, AuditDifference: -1}, 200, nil},
		{relay.Report{PostgresUp: true, Leading: true}, 503, []string{"kafka_down"}},
		{relay.Report{PostgresUp: true, Leading: true, KafkaUp: true}, 503, []string{"no_session"}},
		{relay.Report{PostgresUp: true, Leading: true, KafkaUp: true, InSession: true}, 200, nil},
	} {
		*report = step.report
		status, body := get("/readyz")
		var answer struct{ Reasons []string }
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatal(err)
		}
		if status != step.status || strings.Join(answer.Reasons, " ") != strings.Join(step.reasons, " ") {
			t.Errorf("%+v: %d %s", step.report, status, body)
		}
	}
	if status, _ := get("/livez"); status != 200 {
		t.Errorf("livez %d", status)
	}
}

func TestServer_MetricsSayWhatTheReportSays(t *testing.T) {
	report := &relay.Report{Leading: true, Epoch: 7, InFlightBytes: 42, PostgresUp: true,
		Timeline: 4, TimelineChanges: 1, SettledLost: 100,
		DeliveredByTopic: map[string]int64{"orders": 3}, SessionEnds: map[string]int64{"postgres": 2},
		PublishErrors: map[string]int64{"no_topic": 4}, Redeliveries: 6, AuditDifference: 9,
		Delivery: relay.Delays{Count: 3, Sum: 2.5, Native: map[int]int64{0: 2, 1: 1}, Classic: map[float64]uint64{1: 2, 2: 3}}}
	get := serveReport(t, report, nil)
	_, body := get("/metrics")
	for _, line := range []string{"relay_leader 1", "relay_epoch 7", "relay_in_flight_bytes 42", "relay_postgres_up 1",
		"relay_postgres_timeline 4", "relay_postgres_timeline_changes_total 1", "relay_settled_lost_events_total 100",
		"relay_kafka_up 0", `relay_events_delivered_total{topic="orders"} 3`, `relay_session_ends_total{reason="postgres"} 2`,
		`relay_publish_errors_total{class="no_topic"} 4`, "relay_redeliveries_total 6", "relay_audit_difference_events 9",
		"relay_events_pending 5", "relay_lag_seconds 1.5", `relay_parked_events{state="dead"} 2`, `relay_parked_events{state="held"} 0`,
		"relay_ring_oldest_seconds 60", `relay_delivery_seconds_bucket{le="1"} 2`, `relay_delivery_seconds_bucket{le="+Inf"} 3`,
		"relay_delivery_seconds_sum 2.5", "relay_delivery_seconds_count 3",
		"relay_trace_spans_total 8", `relay_trace_spans_dropped_total{reason="limit"} 4`,
		`relay_trace_spans_dropped_total{reason="queue"} 2`, `relay_trace_spans_dropped_total{reason="export"} 1`} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %q in\n%s", line, body)
		}
	}
	report.PostgresUp = false
	if _, body := get("/metrics"); strings.Contains(body, "relay_events_pending ") || !strings.Contains(body, "relay_postgres_up 0\n") {
		t.Errorf("figures that nobody could read, or nothing at all:\n%s", body)
	}
}

// An alert with increase() over a series that begins at 1 misses the first one.
func TestServer_CountersAreThereBeforeTheFirstTime(t *testing.T) {
	get := serveReport(t, &relay.Report{SessionEnds: map[string]int64{"postgres": 2}, DeliveredByTopic: map[string]int64{"orders": 0}}, nil)
	_, body := get("/metrics")
	for _, line := range []string{`relay_session_ends_total{reason="postgres"} 2`, `relay_session_ends_total{reason="fenced"} 0`,
		`relay_session_ends_total{reason="kafka_timed_out"} 0`, `relay_publish_errors_total{class="too_large"} 0`,
		`relay_events_delivered_total{topic="orders"} 0`} {
		if strings.Count(body, line+"\n") != 1 {
			t.Errorf("not one line %q in\n%s", line, body)
		}
	}
	if !strings.Contains(body, "relay_delivery_seconds From an event's insert, or the later time that it is scheduled for,") {
		t.Errorf("the help speaks of the insert alone:\n%s", body)
	}
}

func TestServer_StatusIsTheDatabasesOrAnError(t *testing.T) {
	var fault error
	get := serveReport(t, &relay.Report{}, func(context.Context) (any, error) {
		return map[string]int{"pending": 5}, fault
	})
	if status, body := get("/status"); status != 200 || body != "{\"pending\":5}\n" {
		t.Errorf("%d %s", status, body)
	}
	fault = errors.New("no server")
	if status, body := get("/status"); status != 503 || !strings.Contains(body, "no server") {
		t.Errorf("%d %s", status, body)
	}
}

// A page whose name was made to lead to 127.0.0.1 would read figures and topics' names.
func TestListen_AnswersForLoopbackHostsOnly(t *testing.T) {
	for listen, status := range map[string]int{"127.0.0.1:0": http.StatusMisdirectedRequest, ":0": http.StatusOK} {
		server, err := Listen(listen, Sources{Report: func() relay.Report { return relay.Report{PostgresUp: true, Following: true} },
			Outbox: func(context.Context) (Outbox, error) { return Outbox{}, nil },
			Status: func(context.Context) (any, error) { return "all", nil }})
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/livez", "/readyz", "/status", "/metrics"} {
			for host, want := range map[string]int{"evil.example:9187": status, "localhost:9187": http.StatusOK, "[::1]:9187": http.StatusOK} {
				w := httptest.NewRecorder()
				server.http.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://"+host+path, nil))
				if w.Code != want {
					t.Errorf("listening on %s, asked for %s%s: %d, want %d", listen, host, path, w.Code, want)
				}
			}
		}
		if err := server.listener.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestListen_SaysWhoseAddressIsTaken(t *testing.T) {
	first, err := Listen("127.0.0.1:0", Sources{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.listener.Close() }()
	if _, err := Listen(first.Address(), Sources{}); err == nil || !strings.Contains(err.Error(), "http.listen") {
		t.Errorf("a taken address: %v", err)
	}
	if none, err := Listen("", Sources{}); err != nil || none.Address() != "" || none.Run(t.Context()) != nil {
		t.Errorf("no address: %v", err)
	}
}
