package tracing

import (
	"encoding/hex"
	"strconv"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"
)

// schemaURL names the semantic conventions that the attributes follow.
const schemaURL = "https://opentelemetry.io/schemas/1.37.0"

// request is what OTLP calls an export of spans.
func request(about []*common.KeyValue, version string, spans []Span) *collector.ExportTraceServiceRequest {
	encoded := make([]*trace.Span, len(spans))
	for i := range spans {
		encoded[i] = encode(&spans[i])
	}
	return &collector.ExportTraceServiceRequest{ResourceSpans: []*trace.ResourceSpans{{
		Resource:  &resource.Resource{Attributes: about},
		SchemaUrl: schemaURL,
		ScopeSpans: []*trace.ScopeSpans{{
			Scope:     &common.InstrumentationScope{Name: "github.com/outboxrelay/relay", Version: version},
			SchemaUrl: schemaURL,
			Spans:     encoded,
		}},
	}}}
}

// The bits of a span's flags beside those of its traceparent: whether its parent is known to be of another process.
const (
	hasIsRemote = 0x100
	isRemote    = 0x200
)

func encode(s *Span) *trace.Span {
	out := &trace.Span{
		TraceId: s.Trace[:], SpanId: s.ID[:], ParentSpanId: s.SpanID[:], TraceState: s.State,
		Flags: uint32(s.Flags) | hasIsRemote | isRemote,
		Name:  "send " + s.Topic, Kind: trace.Span_SPAN_KIND_PRODUCER,
		StartTimeUnixNano: uint64(s.Start), EndTimeUnixNano: uint64(s.Finish),
		Attributes: []*common.KeyValue{
			text("messaging.system", "kafka"),
			text("messaging.operation.name", "send"),
			text("messaging.operation.type", "send"),
			text("messaging.destination.name", s.Topic),
			text("messaging.message.id", uuid(s.Event)),
		},
	}
	if s.Partition >= 0 {
		out.Attributes = append(out.Attributes, text("messaging.destination.partition.id", strconv.Itoa(int(s.Partition))))
	}
	if s.Offset >= 0 {
		out.Attributes = append(out.Attributes, whole("messaging.kafka.offset", s.Offset))
	}
	if s.Again {
		out.Attributes = append(out.Attributes, truth("relay.redelivery"))
	}
	if s.Letter {
		out.Attributes = append(out.Attributes, truth("relay.dead_letter"))
	}
	if s.Sent > 0 {
		out.Events = []*trace.Span_Event{{Name: "handed to kafka", TimeUnixNano: uint64(s.Sent)}}
	}
	if s.Class != "" {
		out.Attributes = append(out.Attributes, text("error.type", s.Class))
		out.Status = &trace.Status{Code: trace.Status_STATUS_CODE_ERROR, Message: s.Reason}
	}
	return out
}

func text(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}

func whole(key string, value int64) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: value}}}
}

func truth(key string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: true}}}
}

func uuid(id [16]byte) string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
