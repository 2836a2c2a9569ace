package tracing_test

import (
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/outboxrelay/relay/internal/tracing"
	"github.com/outboxrelay/relay/internal/tracing/tracingtest"
)

func begin(t *testing.T, tracer *tracing.Tracer) tracing.Span {
	t.Helper()
	p, ok := tracing.Sampled([]byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
	if !ok {
		t.Fatal("the example of the standard is not read")
	}
	s, ok := tracer.Begin(p)
	if !ok {
		t.Fatal("no span could be begun")
	}
	return s
}

func attributes(s *tracepb.Span) string {
	var all []string
	for key, value := range tracingtest.Attributes(s) {
		all = append(all, key+"="+value)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestTracer_SendsSpansAsTheConventionsWantThem(t *testing.T) {
	c := tracingtest.New(t)
	tracer, end := tracerFor(t, c.URL, 10)
	s := begin(t, tracer)
	s.State, s.Topic, s.Event[0], s.Partition, s.Offset, s.Again = "vendor=1", "orders", 0xab, 3, 17, true
	s.Start, s.Sent, s.Finish = 1_000_000_001, 2_000_000_002, 3_000_000_003
	tracer.End(&s)
	failed := begin(t, tracer)
	failed.Topic, failed.Class, failed.Reason, failed.Start, failed.Finish = "orders", "held", "no_topic: gone", 1, 2
	tracer.End(&failed)
	end()

	spans := c.Spans()
	if len(spans) != 2 || tracer.Counts() != (tracing.Counts{Exported: 2}) {
		t.Fatalf("%d spans, counted %+v", len(spans), tracer.Counts())
	}
	got := spans[0]
	if hex.EncodeToString(got.TraceId) != "0af7651916cd43dd8448eb211c80319c" || hex.EncodeToString(got.ParentSpanId) != "b7ad6b7169203331" ||
		hex.EncodeToString(got.SpanId) != hex.EncodeToString(s.ID[:]) || got.TraceState != "vendor=1" || got.Flags != 0x301 {
		t.Errorf("not a child of the event's: %v", got)
	}
	if got.Name != "send orders" || got.Kind != tracepb.Span_SPAN_KIND_PRODUCER || got.StartTimeUnixNano != 1_000_000_001 ||
		got.EndTimeUnixNano != 3_000_000_003 || got.Status.GetCode() != tracepb.Status_STATUS_CODE_UNSET ||
		len(got.Events) != 1 || got.Events[0].TimeUnixNano != 2_000_000_002 {
		t.Errorf("%v", got)
	}
	want := "messaging.destination.name=orders messaging.destination.partition.id=3 messaging.kafka.offset=int_value:17 " +
		"messaging.message.id=ab000000-0000-0000-0000-000000000000 messaging.operation.name=send messaging.operation.type=send " +
		"messaging.system=kafka relay.redelivery=bool_value:true"
	if a := attributes(got); a != want {
		t.Errorf("attributes\n%s\nwant\n%s", a, want)
	}
	bad := spans[1]
	if bad.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || bad.Status.Message != "no_topic: gone" || len(bad.Events) != 0 ||
		!strings.Contains(attributes(bad), "error.type=held") || strings.Contains(attributes(bad), "partition") {
		t.Errorf("%v", bad)
	}
	if hex.EncodeToString(got.SpanId) == hex.EncodeToString(bad.SpanId) {
		t.Error("two spans have one id")
	}
	requests, _ := c.Requests()
	about := requests[0].ResourceSpans[0]
	if r := about.Resource.String(); !strings.Contains(r, "service.name") || !strings.Contains(r, "relay") ||
		about.ScopeSpans[0].Scope.Version != "v9" {
		t.Errorf("the process says of itself %s", r)
	}
}

func TestTracer_BeginsNoMoreThanItMay(t *testing.T) {
	c := tracingtest.New(t)
	tracer, _ := tracerFor(t, c.URL, 5)
	var p tracing.Parent
	begun := 0
	for range 1000 {
		if _, ok := tracer.Begin(p); ok {
			begun++
		}
	}
	if n := tracer.Counts().Limited; begun < 5 || begun > 50 || n != int64(1000-begun) {
		t.Errorf("%d were begun, %d counted as too many", begun, n)
	}
	until(t, "another may be begun", func() bool { _, ok := tracer.Begin(p); return ok })
}

func TestTracer_NeverWaitsForACollector(t *testing.T) {
	c := tracingtest.New(t)
	asked, release := make(chan struct{}, 100), make(chan struct{})
	c.Answers(func(_ http.ResponseWriter, r *http.Request) bool {
		asked <- struct{}{}
		select {
		case <-release:
			return true
		case <-r.Context().Done():
			return false
		}
	})
	tracer, end := tracerFor(t, c.URL, 10_000)
	s := begin(t, tracer)
	tracer.End(&s)
	<-asked
	began := time.Now()
	const spans = 5000
	for range spans {
		tracer.End(&s)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("ending %d spans took %v beside a collector that does not answer", spans, took)
	}
	if n := tracer.Counts().QueueFull; n < spans-2048-512 || n == spans {
		t.Errorf("%d were dropped", n)
	}
	close(release)
	until(t, "what was queued arrives", func() bool { n := tracer.Counts(); return n.Exported+n.QueueFull == spans+1 })
	end() // which gives what is queued two seconds, and no more
	if n := tracer.Counts(); n.Exported+n.QueueFull != spans+1 || int64(len(c.Spans())) != n.Exported {
		t.Errorf("%d arrived, counted %+v", len(c.Spans()), n)
	}
}

func TestTracer_StopsInTimeThoughNobodyAnswers(t *testing.T) {
	c := tracingtest.New(t)
	asked := make(chan struct{}, 100)
	c.Answers(func(_ http.ResponseWriter, r *http.Request) bool {
		asked <- struct{}{}
		<-r.Context().Done()
		return false
	})
	tracer, end := tracerFor(t, c.URL, 10)
	s := begin(t, tracer)
	tracer.End(&s)
	<-asked
	tracer.End(&s)
	began := time.Now()
	end()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
	if n := tracer.Counts(); n.Failed != 2 || n.Exported != 0 {
		t.Errorf("counted %+v", n)
	}
}

func TestTracer_TriesAgainWhatMayBeTakenLater(t *testing.T) {
	c := tracingtest.New(t)
	statuses := []int{503, 429}
	var mu sync.Mutex
	c.Answers(func(w http.ResponseWriter, _ *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if len(statuses) == 0 {
			return true
		}
		w.WriteHeader(statuses[0])
		statuses = statuses[1:]
		return false
	})
	tracer, _ := tracerFor(t, c.URL, 10)
	s := begin(t, tracer)
	tracer.End(&s)
	until(t, "the span is taken", func() bool { return tracer.Counts().Exported == 1 })
	if len(c.Spans()) != 1 {
		t.Errorf("%d spans", len(c.Spans()))
	}
	mu.Lock()
	statuses = []int{400, 503}
	mu.Unlock()
	tracer.End(&s)
	until(t, "a request that is wrong is given up", func() bool { return tracer.Counts().Failed == 1 })
	mu.Lock()
	defer mu.Unlock()
	if len(statuses) != 1 {
		t.Error("a request that is wrong was sent again")
	}
}

func TestTracer_CountsWhatTheCollectorTookOnlyInPart(t *testing.T) {
	c := tracingtest.New(t)
	c.Answers(func(w http.ResponseWriter, _ *http.Request) bool {
		body, _ := proto.Marshal(&collectorpb.ExportTraceServiceResponse{
			PartialSuccess: &collectorpb.ExportTracePartialSuccess{RejectedSpans: 1}})
		_, _ = w.Write(body)
		return true
	})
	tracer, end := tracerFor(t, c.URL, 10)
	s := begin(t, tracer)
	tracer.End(&s)
	tracer.End(&s)
	end()
	if n := tracer.Counts(); n != (tracing.Counts{Exported: 1, Failed: 1}) {
		t.Errorf("%+v", n)
	}
}

// A traced event must not cost the goroutine of the acks more than a copy.
func TestTracer_EndMakesNoGarbage(t *testing.T) {
	tracer := tracing.New(tracing.Options{PerSecond: 1})
	s := begin(t, tracer)
	if n := testing.AllocsPerRun(3000, func() { tracer.End(&s) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
