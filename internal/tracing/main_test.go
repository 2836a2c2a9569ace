package tracing_test

import (
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outboxrelay/relay/internal/tracing"
	"github.com/outboxrelay/relay/internal/tracing/tracingtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tracerFor runs a tracer until the returned function is called, which waits for its end.
func tracerFor(t *testing.T, endpoint string, perSecond int, env ...string) (*tracing.Tracer, func()) {
	t.Helper()
	settings, err := tracing.Resolve(endpoint, env, []tracing.Pair{{Name: "service.name", Value: "relay"}, {Name: "service.version", Value: "v9"}})
	if err != nil {
		t.Fatal(err)
	}
	exporter, err := tracing.NewExporter(settings)
	if err != nil {
		t.Fatal(err)
	}
	tracer := tracing.New(tracing.Options{Exporter: exporter, PerSecond: perSecond, Log: slog.New(slog.DiscardHandler)})
	return tracer, tracingtest.Run(t, tracer)
}

func until(t *testing.T, what string, claim func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !claim(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}
