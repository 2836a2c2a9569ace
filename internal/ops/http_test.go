package ops

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/outboxrelay/relay/internal/relay"
)

// serveReport runs a server that tells this report, until the test ends.
func serveReport(t *testing.T, report *relay.Report, status func(context.Context) (any, error)) (get func(path string) (int, string)) {
	t.Helper()
	server, err := Listen("127.0.0.1:0", func() relay.Report { return *report }, status)
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
		{relay.Report{PostgresUp: true}, 200, nil},
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
		DeliveredByTopic: map[string]int64{"orders": 3}, SessionEnds: map[string]int64{"postgres": 2}}
	get := serveReport(t, report, nil)
	_, body := get("/metrics")
	for _, line := range []string{"relay_leader 1", "relay_epoch 7", "relay_in_flight_bytes 42", "relay_postgres_up 1",
		"relay_postgres_timeline 4", "relay_postgres_timeline_changes_total 1", "relay_settled_lost_events_total 100",
		"relay_kafka_up 0", `relay_events_delivered_total{topic="orders"} 3`, `relay_session_ends_total{reason="postgres"} 2`} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %q in\n%s", line, body)
		}
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

func TestListen_SaysWhoseAddressIsTaken(t *testing.T) {
	first, err := Listen("127.0.0.1:0", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.listener.Close() }()
	if _, err := Listen(first.Address(), nil, nil); err == nil || !strings.Contains(err.Error(), "http.listen") {
		t.Errorf("a taken address: %v", err)
	}
	if none, err := Listen("", nil, nil); err != nil || none.Address() != "" || none.Run(t.Context()) != nil {
		t.Errorf("no address: %v", err)
	}
}
