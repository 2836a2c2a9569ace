package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/outboxrelay/relay/internal/devenv/fake"
	"github.com/outboxrelay/relay/internal/tracing/tracingtest"
	"github.com/outboxrelay/relay/publisher"
)

func TestTrace_OfDeadLetters(t *testing.T) { withEach(t, ofDeadLetters) }

// The copy of a dead event has a span of its own in the event's trace, whose time begins when the event died. That of
// an event that is not sampled has none.
func ofDeadLetters(t *testing.T, client publisher.Client) {
	for name, options := range map[string]func(*rig) Options{"at_least_once": (*rig).options, "exactly_once": (*rig).exactly} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, map[string]int32{"orders": 1, "dead-letters": 1, progressTopic: 1})
			r.client = client
			r.showOnFailure()
			o := options(r)
			o.DeadLetterTopic = "dead-letters"
			c := tracingtest.New(t)
			flush := r.traced(&o, c, 1000)
			w := r.start(o)
			const sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
			r.exec(`insert into outbox.events (topic, payload, partition, headers) values ('orders', '1', 7, json_build_object('traceparent', $1::text)),
				('orders', '2', 7, json_build_object('traceparent', replace($1, '-01', '-00'))), ('orders', '3', 7, '{}')`, sampled)
			eventually(t, "the letters are written", 20*time.Second, func() bool {
				return queryRow[int](r, "select count(*) from outbox.parked where lettered_at is not null") == 3
			})
			w.halt(t)
			flush()
			var letters []*trace.Span
			for _, s := range c.Spans() {
				if tracingtest.Attributes(s)["relay.dead_letter"] != "" {
					letters = append(letters, s)
				}
			}
			if len(letters) != 1 || len(c.Spans()) != 2 {
				t.Fatalf("%d spans of letters, %d in all: %v", len(letters), len(c.Spans()), c.Spans())
			}
			s, a := letters[0], tracingtest.Attributes(letters[0])
			var stored string
			for _, k := range r.committed("dead-letters") {
				if string(k.Value) == "1" {
					stored = fmt.Sprintf("dead-letters %d@int_value:%d", k.Partition, k.Offset)
				}
			}
			where := a["messaging.destination.name"] + " " + a["messaging.destination.partition.id"] + "@" + a["messaging.kafka.offset"]
			if s.Name != "send dead-letters" || where != stored || a["error.type"] != "" || a["messaging.message.id"] !=
				queryRow[string](r, "select id::text from outbox.parked where payload::text = '1'") {
				t.Errorf("the record is at %s; %v", stored, s)
			}
			if parent := fmt.Sprintf("00-%x-%x-01", s.TraceId, s.ParentSpanId); parent != sampled {
				t.Errorf("a child of %s", parent)
			}
			died := queryRow[time.Time](r, "select parked_at from outbox.parked where payload::text = '1'").UnixNano()
			if s.StartTimeUnixNano != uint64(died) || len(s.Events) != 1 || s.EndTimeUnixNano < s.Events[0].TimeUnixNano {
				t.Errorf("from %d, dead at %d, handed over %v, until %d", s.StartTimeUnixNano, died, s.Events, s.EndTimeUnixNano)
			}
		})
	}
}

func TestTrace_OfADeadLetterThatIsRefused(t *testing.T) {
	b := fake.ForTest(t, map[string]int32{"orders": 1, "dead-letters": 1})
	r := newRigOn(t, b.Brokers())
	r.showOnFailure()
	o := r.options()
	o.DeadLetterTopic = "dead-letters"
	c := tracingtest.New(t)
	flush := r.traced(&o, c, 1000)
	b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord, Count: 1})
	w := r.start(o)
	r.exec(`insert into outbox.events (topic, payload, partition, headers) values ('orders', '1', 7, $1)`,
		`{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`)
	eventually(t, "the letter is written", 20*time.Second, func() bool {
		return queryRow[int](r, "select count(*) from outbox.parked where lettered_at is not null") == 1
	})
	w.halt(t)
	flush()
	var tries []string
	for _, s := range c.Spans() {
		if a := tracingtest.Attributes(s); a["relay.dead_letter"] != "" {
			tries = append(tries, a["error.type"])
		}
	}
	if got := strings.Join(tries, ", "); got != "invalid_record, " {
		t.Errorf("tries %q", got)
	}
}
