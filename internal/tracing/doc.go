// Package tracing makes OpenTelemetry spans of single events and sends them to a collector by OTLP over HTTP.
//
//	the row's traceparent says sampled ─► Begin ─► Span, a value of the caller's ─► End ─► queue ─► Run ─► collector
//	                                        │ more than Options.PerSecond            │ full            │ no answer
//	                                        └────────────► limited                   └─► queue_full    └─► export
//
// What it promises: Begin and End never wait and never do I/O. Memory is bounded by the queue and one batch. Every span
// that is not delivered to the collector is counted, by what became of it. A collector that is slow or away costs spans
// and nothing else.
//
// What it does not promise: that every sampled event has a span. It keeps no span over a restart.
package tracing
