package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/tracing"
)

// exporterOf is nil when nothing asks for traces. The error names the key or the variable that cannot be used.
func exporterOf(cfg *config.Config, env []string, holder string) (*tracing.Exporter, error) {
	settings, err := tracing.Resolve(cfg.Tracing.Endpoint, env, []tracing.Pair{
		{Name: "service.name", Value: "relay"}, {Name: "service.version", Value: thisBuild().Version},
		{Name: "service.instance.id", Value: holder}})
	if errors.Is(err, tracing.ErrOff) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return tracing.NewExporter(settings)
}

// tracerOf is nil without tracing. What our own configuration asks for has to work. Variables are often set for every
// program of a platform: those that cannot be used here turn tracing off, and delivery goes on.
func tracerOf(cfg *config.Config, env []string, holder string, log *slog.Logger) (*tracing.Tracer, error) {
	exporter, err := exporterOf(cfg, env, holder)
	if err != nil && cfg.Tracing.Endpoint == "" {
		log.Warn("tracing is off: OpenTelemetry's variables cannot be used", "error", err)
		return nil, nil
	}
	if err != nil || exporter == nil {
		return nil, err
	}
	log.Info("tracing sampled events", "endpoint", exporter.Endpoint(), "max_spans_per_second", cfg.Tracing.MaxSpansPerSecond)
	return tracing.New(tracing.Options{Exporter: exporter, PerSecond: cfg.Tracing.MaxSpansPerSecond, Log: log}), nil
}

func spansOf(t *tracing.Tracer) func() tracing.Counts {
	if t == nil {
		return nil
	}
	return t.Counts
}

// checkTracing asks the collector, if there is to be one. Nothing that is wrong with it keeps events from being delivered.
func (c *checkup) checkTracing(ctx context.Context, cfg *config.Config) {
	exporter, err := exporterOf(cfg, c.g.env, "check")
	switch {
	case err != nil:
		c.warn("tracing", err.Error(), "mend it, or unset it to go without traces")
		return
	case exporter == nil:
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := exporter.Probe(ctx); err != nil {
		c.warn("tracing", "the collector at "+exporter.Endpoint()+" takes no traces: "+err.Error(),
			"give tracing.endpoint the base URL of a receiver for OTLP over HTTP; its usual port is 4318")
		return
	}
	c.ok("tracing", "the collector at %s takes traces", exporter.Endpoint())
}
