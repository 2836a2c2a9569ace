package ops

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/outboxrelay/relay/internal/relay"
	"github.com/outboxrelay/relay/publisher"
)

// Outbox is what metrics tell of the outbox as the database knows it: the same figures as in the status.
type Outbox struct {
	Pending           int64
	LagSeconds        float64
	Parked            map[string]int64 // by state
	RingOldestSeconds float64
}

// outboxWithin bounds how long a scrape waits for the database. Scrapers wait for ten seconds.
const outboxWithin = 5 * time.Second

// registry is the metrics of one relay, read when they are asked for.
func registry(from Sources) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newMetrics(from), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// metrics collects all of the relay's own. One report and one look at the database make one scrape, so that figures
// belong together.
type metrics struct {
	from  Sources
	began time.Time

	gauges, counters                   []figure
	delivered, ends, errors, delivery  *prometheus.Desc
	pending, lag, parkedBy, ringOldest *prometheus.Desc
	spans, spansDropped                *prometheus.Desc
}

// figure is a metric without labels.
type figure struct {
	desc *prometheus.Desc
	of   func(relay.Report) float64
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func newMetrics(from Sources) *metrics {
	gauge := func(name, help string, of func(relay.Report) float64) figure { return figure{describe(name, help), of} }
	counter := func(name, help string, of func(relay.Report) int64) figure {
		return figure{describe(name, help), func(r relay.Report) float64 { return float64(of(r)) }}
	}
	return &metrics{
		from: from, began: time.Now(),
		gauges: []figure{
			gauge("relay_leader", "1 while this replica leads.", func(r relay.Report) float64 { return number(r.Leading) }),
			gauge("relay_epoch", "Epoch of this replica's last term.", func(r relay.Report) float64 { return float64(r.Epoch) }),
			gauge("relay_in_flight_bytes", "Bytes sent and not yet acked.", func(r relay.Report) float64 { return float64(r.InFlightBytes) }),
			gauge("relay_postgres_up", "1 when PostgreSQL answered the last time.", func(r relay.Report) float64 { return number(r.PostgresUp) }),
			gauge("relay_kafka_up", "1 when Kafka answered the last time; a follower does not ask and keeps what it last knew.",
				func(r relay.Report) float64 { return number(r.KafkaUp) }),
			gauge("relay_audit_difference_events", "Events that the last audit found too many or too few in the table.",
				func(r relay.Report) float64 { return float64(r.AuditDifference) }),
			gauge("relay_postgres_timeline", "PostgreSQL's timeline, 0 before this replica's first session.",
				func(r relay.Report) float64 { return float64(r.Timeline) }),
		},
		counters: []figure{
			counter("relay_redeliveries_total", "Events that this process sent again though Kafka may have had them.",
				func(r relay.Report) int64 { return r.Redeliveries }),
			counter("relay_postgres_timeline_changes_total", "Times that PostgreSQL was found on another timeline: fail-overs and restores.",
				func(r relay.Report) int64 { return r.TimelineChanges }),
			counter("relay_settled_lost_events_total", "Events this process had settled, which PostgreSQL lost in a fail-over.",
				func(r relay.Report) int64 { return r.SettledLost }),
		},
		delivered: describe("relay_events_delivered_total", "Events delivered since this process began.", "topic"),
		ends:      describe("relay_session_ends_total", "Sessions ended, by reason.", "reason"),
		errors:    describe("relay_publish_errors_total", "Records given back without an ack, by error class.", "class"),
		delivery: describe("relay_delivery_seconds",
			"From an event's insert, or the later time that it is scheduled for, to its ack; with exactly_once, to the commit."),
		pending:    describe("relay_events_pending", "Events that are committed and not yet settled."),
		lag:        describe("relay_lag_seconds", "Age of the oldest pending event, 0 when none is."),
		parkedBy:   describe("relay_parked_events", "Events that cannot go now, by state.", "state"),
		ringOldest: describe("relay_ring_oldest_seconds", "Age of the oldest event still in the table, 0 when it is empty."),
		spans:      describe("relay_trace_spans_total", "Spans of sampled events that the collector took."),
		spansDropped: describe("relay_trace_spans_dropped_total",
			"Spans that were not made or not delivered: over the limit, queue full, or export failed.", "reason"),
	}
}

// Describe says nothing: the metrics depend on what has happened.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect tells what is so now. While the database does not answer, what only it knows is left out: an old figure
// would look like a good one.
func (m *metrics) Collect(metrics chan<- prometheus.Metric) {
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
	r := m.from.Report()
	for _, f := range m.gauges {
		send(f.desc, prometheus.GaugeValue, f.of(r))
	}
	for _, f := range m.counters {
		send(f.desc, prometheus.CounterValue, f.of(r))
	}
	// What has not happened is told as 0: increase() of a series that begins at 1 is 0, and an alert misses the first one.
	for _, counts := range []struct {
		desc  *prometheus.Desc
		by    map[string]int64
		known []string
	}{{m.delivered, r.DeliveredByTopic, nil}, {m.ends, r.SessionEnds, relay.Reasons()}, {m.errors, r.PublishErrors, publisher.Classes()}} {
		for label, n := range counts.by {
			send(counts.desc, prometheus.CounterValue, float64(n), label)
		}
		for _, label := range counts.known {
			if _, happened := counts.by[label]; !happened {
				send(counts.desc, prometheus.CounterValue, 0, label)
			}
		}
	}
	metrics <- &delivery{m.delivery, r.Delivery, m.began}
	if m.from.Spans != nil {
		n := m.from.Spans()
		send(m.spans, prometheus.CounterValue, float64(n.Exported))
		send(m.spansDropped, prometheus.CounterValue, float64(n.Limited), "limit")
		send(m.spansDropped, prometheus.CounterValue, float64(n.QueueFull), "queue")
		send(m.spansDropped, prometheus.CounterValue, float64(n.Failed), "export")
	}
	ctx, cancel := context.WithTimeout(context.Background(), outboxWithin)
	defer cancel()
	outbox, err := m.from.Outbox(ctx)
	if err != nil {
		return
	}
	send(m.pending, prometheus.GaugeValue, float64(outbox.Pending))
	send(m.lag, prometheus.GaugeValue, outbox.LagSeconds)
	send(m.ringOldest, prometheus.GaugeValue, outbox.RingOldestSeconds)
	for state, n := range outbox.Parked {
		send(m.parkedBy, prometheus.GaugeValue, float64(n), state)
	}
}

func number(claim bool) float64 {
	if claim {
		return 1
	}
	return 0
}

// delivery is a histogram that both kinds of scrapers understand: the library's own constant ones are either.
type delivery struct {
	desc   *prometheus.Desc
	delays relay.Delays
	began  time.Time
}

// Desc is the metric's.
func (d *delivery) Desc() *prometheus.Desc { return d.desc }

// Write fills in the native form, and the classic buckets beside it.
func (d *delivery) Write(out *dto.Metric) error {
	native, err := prometheus.NewConstNativeHistogram(d.desc, d.delays.Count, d.delays.Sum, d.delays.Native, nil, 0,
		relay.NativeSchema, prometheus.DefNativeHistogramZeroThreshold, d.began)
	if err != nil {
		return err
	}
	if err := native.Write(out); err != nil {
		return err
	}
	classic, err := prometheus.NewConstHistogram(d.desc, d.delays.Count, d.delays.Sum, d.delays.Classic)
	if err != nil {
		return err
	}
	var both dto.Metric
	if err := classic.Write(&both); err != nil {
		return err
	}
	out.Histogram.Bucket = both.Histogram.Bucket
	out.Histogram.CreatedTimestamp = timestamppb.New(d.began)
	return nil
}
