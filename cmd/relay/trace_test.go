package main

import (
	"strings"
	"testing"

	"github.com/outboxrelay/relay/internal/tracing/tracingtest"
)

func TestRun_TracesAsTheConfigurationOrTheVariablesSay(t *testing.T) {
	for name, variable := range map[string]string{"ours": "RELAY_TRACING_ENDPOINT", "the standard's": "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		t.Run(name, func(t *testing.T) {
			env, conn := database(t)
			kafkaEnv, _ := broker(t, map[string]int32{"orders": 1})
			c := tracingtest.New(t)
			env = append(append(env, kafkaEnv...), variable+"="+c.URL, "OTEL_SERVICE_NAME=shop-relay")
			address := runDaemon(t, env)
			execute(t, conn, `insert into outbox.events (topic, payload, headers) values
				('orders', '1', '{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}')`)
			within(t, "its span is in the metrics", func() bool {
				_, body := get(t, address, "/metrics")
				return strings.Contains(body, "relay_trace_spans_total 1\n")
			})
			requests, _ := c.Requests()
			if spans := c.Spans(); len(spans) != 1 || spans[0].Name != "send orders" ||
				!strings.Contains(requests[0].ResourceSpans[0].Resource.String(), "shop-relay") {
				t.Errorf("%v", requests)
			}
			if out := runRelay(t, env, "check").out; !strings.Contains(out, "takes traces") {
				t.Error(out)
			}
		})
	}
}

func TestRun_OfTracingOnlyOurOwnConfigurationHasToWork(t *testing.T) {
	env, _ := database(t)
	kafkaEnv, _ := broker(t, nil)
	env = append(append(env, kafkaEnv...), "RELAY_HTTP_LISTEN=")
	r := runRelay(t, append(env, "RELAY_TRACING_ENDPOINT=http://127.0.0.1:4318", "OTEL_EXPORTER_OTLP_TIMEOUT=soon"), "run")
	if r.code != exitFailed || !strings.Contains(r.errors, "OTEL_EXPORTER_OTLP_TIMEOUT: is not a number") {
		t.Errorf("%+v", r)
	}
	address := runDaemon(t, append(env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"))
	within(t, "it works without traces", func() bool { status, _ := get(t, address, "/readyz"); return status == 200 })
	if _, body := get(t, address, "/metrics"); strings.Contains(body, "relay_trace_") {
		t.Error("figures of traces that nobody makes")
	}
	out := runRelay(t, append(env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"), "check").out
	if !strings.Contains(out, "http://127.0.0.1:1/v1/traces takes no traces: ") {
		t.Error(out)
	}
}
