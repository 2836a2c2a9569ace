package relay

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/jackc/pgx/v5"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/internal/tracing"
	"github.com/outboxrelay/relay/internal/tracing/tracingtest"
	"github.com/outboxrelay/relay/publisher"
)

// traced lets a relay trace to a collector. Stop the relay, then call flush: it sends what is left.
func (r *rig) traced(o *Options, c *tracingtest.Collector, perSecond int) (flush func()) {
	r.t.Helper()
	settings, err := tracing.Resolve(c.URL, nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	exporter, err := tracing.NewExporter(settings)
	if err != nil {
		r.t.Fatal(err)
	}
	o.Trace = tracing.New(tracing.Options{Exporter: exporter, PerSecond: perSecond, Log: slog.New(slog.DiscardHandler)})
	return tracingtest.Run(r.t, o.Trace)
}

// writeTraced inserts n events of topic, a third of them sampled, a third traced and not sampled.
func (r *rig) writeTraced(topic string, n int) {
	r.t.Helper()
	r.exec(`insert into outbox.events (topic, key, payload, headers) select $1, n % 5, to_json(n), case n % 3
		when 0 then json_build_object('traceparent', format('00-%s-%s-01', md5($1 || n), left(md5(n::text), 16)), 'tracestate', 'n=' || n)
		when 1 then json_build_object('traceparent', format('00-%s-%s-00', md5($1 || n), left(md5(n::text), 16))) end
		from generate_series(1, $2::int) n`, topic, n)
}

// sampledRow is what the table says of a sampled event.
type sampledRow struct {
	ID, Traceparent, Tracestate string
	From                        time.Time
}

func (r *rig) sampled(topic string) map[string]sampledRow {
	r.t.Helper()
	rows, _ := r.db.Query(r.t.Context(), `select id::text, headers->>'traceparent', coalesce(headers->>'tracestate', ''), greatest(created_at, deliver_at)
		from outbox.events where topic = $1 and headers->>'traceparent' like '%-01'`, topic)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sampledRow])
	if err != nil {
		r.t.Fatal(err)
	}
	byID := map[string]sampledRow{}
	for _, row := range all {
		byID[row.ID] = row
	}
	return byID
}

// checkSpans wants one good span for each sampled event of topic and none for others: a child of the row's, from its
// insert to its ack, at the place where the record is. It gives the rest.
func (r *rig) checkSpans(topic string, spans []*trace.Span) (rest []*trace.Span) {
	r.t.Helper()
	rows := r.sampled(topic)
	if len(rows) == 0 {
		r.t.Fatal("no event is sampled")
	}
	at := map[string]string{}
	for _, k := range r.committed(topic) {
		headers := map[string]string{}
		for _, h := range k.Headers {
			headers[h.Key] = string(h.Value)
		}
		at[headers["id"]] = fmt.Sprintf("%d@%d", k.Partition, k.Offset)
		if row, ok := rows[headers["id"]]; ok && headers["traceparent"] != row.Traceparent {
			r.t.Errorf("the record's traceparent is %s, the row's %s", headers["traceparent"], row.Traceparent)
		}
	}
	seen := map[string]bool{}
	for _, s := range spans {
		a := tracingtest.Attributes(s)
		if a["messaging.destination.name"] != topic || s.Status.GetCode() == trace.Status_STATUS_CODE_ERROR {
			rest = append(rest, s)
			continue
		}
		row, ok := rows[a["messaging.message.id"]]
		if !ok || seen[row.ID] {
			r.t.Errorf("a span of an event that is not sampled, or a second one: %v", s)
			continue
		}
		seen[row.ID] = true
		if parent := fmt.Sprintf("00-%x-%x-01", s.TraceId, s.ParentSpanId); parent != row.Traceparent || s.TraceState != row.Tracestate {
			r.t.Errorf("a child of %s %s, not of %s %s", parent, s.TraceState, row.Traceparent, row.Tracestate)
		}
		offset := strings.TrimPrefix(a["messaging.kafka.offset"], "int_value:")
		if where := a["messaging.destination.partition.id"] + "@" + offset; where != at[row.ID] {
			r.t.Errorf("a span says %s, the record is at %s", where, at[row.ID])
		}
		now := uint64(time.Now().UnixNano())
		if s.StartTimeUnixNano != uint64(row.From.UnixNano()) || len(s.Events) != 1 ||
			s.Events[0].TimeUnixNano < s.StartTimeUnixNano || s.EndTimeUnixNano+1000 < s.Events[0].TimeUnixNano || s.EndTimeUnixNano > now {
			r.t.Errorf("from %d (the row %d), handed over %v, until %d", s.StartTimeUnixNano, row.From.UnixNano(), s.Events, s.EndTimeUnixNano)
		}
	}
	if len(seen) != len(rows) {
		r.t.Errorf("%d of %d sampled events have a span", len(seen), len(rows))
	}
	return rest
}

func TestTrace_EachSampledEventHasItsSpan(t *testing.T) { withEach(t, eachSampledEventHasItsSpan) }

func eachSampledEventHasItsSpan(t *testing.T, client publisher.Client) {
	for name, options := range map[string]func(*rig) Options{"at_least_once": (*rig).options, "exactly_once": (*rig).exactly} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, map[string]int32{"orders": 4, progressTopic: 1})
			r.client = client
			r.showOnFailure()
			o := options(r)
			c := tracingtest.New(t)
			flush := r.traced(&o, c, 1000)
			w := r.start(o)
			r.writeTraced("orders", 2500) // more than a batch, and not all of one page
			r.settled(20 * time.Second)
			w.halt(t)
			flush()
			for _, s := range r.checkSpans("orders", c.Spans()) {
				t.Errorf("and %v", s)
			}
		})
	}
}

func TestTrace_TellsWhatCouldNotGoAndWhenItDid(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]int32{"there": 1})
	r.showOnFailure()
	o := r.options()
	c := tracingtest.New(t)
	flush := r.traced(&o, c, 1000)
	w := r.start(o)
	r.writeTraced("later", 3)
	const headers = `{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`
	r.exec(`insert into outbox.events (topic, payload, partition, headers) values ('there', '1', 7, $1)`, headers)
	r.exec(`insert into outbox.events (topic, payload, deliver_at, headers) values ('there', '2', now() + interval '500 milliseconds', $1)`, headers)
	r.settled(20 * time.Second)
	r.createTopic("later", 1, nil)
	eventually(t, "what can go is gone", 20*time.Second, func() bool { return r.parkedNow() == "1 dead" })
	w.halt(t)
	flush()
	var errors []string
	left := r.checkSpans("later", c.Spans())
	r.exec("delete from outbox.events where partition = 7")
	for _, s := range r.checkSpans("there", left) {
		a := tracingtest.Attributes(s)
		errors = append(errors, fmt.Sprintf("%s %s: %s", a["messaging.destination.name"], a["error.type"], s.Status.GetMessage()))
		if s.EndTimeUnixNano < s.StartTimeUnixNano || len(s.Events) > 0 {
			t.Errorf("%v", s)
		}
	}
	got := strings.Join(errors, "\n")
	if len(errors) != 2 || !strings.Contains(got, "later held: no_topic: ") || !strings.Contains(got, "there dead: bad_partition: ") {
		t.Errorf("spans of what did not go:\n%s", got)
	}
}

func TestTrace_EachTryHasASpan(t *testing.T) {
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	o := r.options()
	c := tracingtest.New(t)
	flush := r.traced(&o, c, 1000)
	r.writeTraced("t", 9)
	f := &manuals{}
	w := r.start(f.onto(o))
	m := f.nth(t, 0, 9) // 3, 6 and 9 are sampled
	m.ack(0, 3)
	m.reject(5, errManual)
	f.nth(t, 1, 6).ack(0, 6)
	r.settled(5 * time.Second)
	w.halt(t)
	flush()
	var story []string
	for _, s := range c.Spans() {
		a := tracingtest.Attributes(s)
		story = append(story, strings.TrimPrefix(s.TraceState, "n=")+" "+a["error.type"]+" "+a["relay.redelivery"])
	}
	if got := strings.Join(story, ", "); got != "3  , 6 transport , 9 transport , 6  bool_value:true, 9  bool_value:true" {
		t.Errorf("spans: %s", got)
	}
}

func TestTrace_OfATransactionInDoubt(t *testing.T) {
	r := newRig(t, map[string]int32{"orders": 4, progressTopic: 1})
	r.showOnFailure()
	o := lying(r.exactly(), false)
	c := tracingtest.New(t)
	flush := r.traced(&o, c, 1000)
	r.writeTraced("orders", 30)
	w := r.start(o)
	r.settled(20 * time.Second)
	w.halt(t)
	flush()
	doubt := map[string]bool{}
	for _, s := range c.Spans() {
		if a := tracingtest.Attributes(s); a["error.type"] == uncommitted {
			doubt[hex.EncodeToString(s.TraceId)] = true
		} else if !doubt[hex.EncodeToString(s.TraceId)] {
			t.Errorf("no first try before %v", s)
		}
	}
	if len(doubt) != 10 || len(c.Spans()) != 20 {
		t.Errorf("%d of 10 events have a span of the try that was in doubt; %d spans", len(doubt), len(c.Spans()))
	}
}

func TestTrace_ACollectorThatHangsCostsSpansAndNothingElse(t *testing.T) {
	r := newRig(t, map[string]int32{"orders": 4})
	r.showOnFailure()
	c := tracingtest.New(t)
	c.Answers(func(_ http.ResponseWriter, q *http.Request) bool { <-q.Context().Done(); return false })
	o := r.options()
	flush := r.traced(&o, c, 10_000)
	const events = 30_000
	r.writeTraced("orders", events)
	w := r.start(o)
	began := time.Now()
	r.settled(60 * time.Second)
	t.Logf("%d events in %v", events, time.Since(began))
	w.halt(t)
	began = time.Now()
	flush()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
	checkOrder(t, r.read("orders"), events, 0)
	n := o.Trace.Counts()
	if all := n.Exported + n.Limited + n.QueueFull + n.Failed; n.Exported != 0 || n.QueueFull == 0 || all != events/3 {
		t.Errorf("%d sampled events, counted %+v", events/3, n)
	}
}

// Events that are not sampled pay for a look at their headers.
func TestTrace_WhatIsNotSampledCostsNothing(t *testing.T) {
	tracer := tracing.New(tracing.Options{PerSecond: 1})
	row := &store.Row{CreatedAt: time.Now()}
	headers := []publisher.Header{{Key: "id", Value: []byte("x")}, {Key: tracing.TracestateHeader, Value: []byte("n=1")},
		{Key: tracing.TraceparentHeader, Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")}}
	if n := testing.AllocsPerRun(1000, func() {
		if _, ok := spanOf(tracer, row, wanted(row), "t", headers); ok {
			t.Error("a span of an event that is not sampled")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if n := tracer.Counts(); n != (tracing.Counts{}) {
		t.Errorf("counted %+v", n)
	}
	if size := unsafe.Sizeof(ticket{}); strconv.IntSize == 64 && size > 64 {
		t.Errorf("a ticket is %d bytes: tracing must not make it larger", size)
	}
}
