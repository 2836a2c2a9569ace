package relay

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What metrics say is what a reader of the topics finds.
func TestReport_CountsWhatIsInKafka(t *testing.T) {
	for _, mode := range []string{"at_least_once", "exactly_once"} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, map[string]int32{"orders": 4, "payments": 2, progressTopic: 1})
			r.showOnFailure()
			o := r.options()
			if mode == "exactly_once" {
				o = r.exactly()
			}
			r.exec(`insert into outbox.events (topic, key, payload, created_at)
				select 'orders', n % 10, to_json(n), now() - interval '90 s' from generate_series(1, 3000) n`)
			r.exec("insert into outbox.events (topic, key, payload) select 'payments', n, to_json(n) from generate_series(1, 70) n")
			r.exec("insert into outbox.events (topic, payload) values ('missing', '{}')")
			// A scheduled event counts from the time that it asked for.
			r.exec(`insert into outbox.events (topic, payload, created_at, deliver_at)
				values ('payments', '{}', now() - interval '3 days', now() + interval '300 ms')`)
			w := r.start(o)
			eventually(t, "the scheduled event is released, the other held", 20*time.Second, func() bool {
				return queryRow[string](r, "select coalesce(string_agg(state, ' '), '') from outbox.parked") == "held"
			})
			r.settled(20 * time.Second)
			w.halt(t)
			got := w.State().Report()
			if len(got.DeliveredByTopic) != 2 {
				t.Errorf("counted topics: %v", got.DeliveredByTopic)
			}
			total := int64(0)
			for _, topic := range []string{"orders", "payments"} {
				n := int64(0)
				for _, k := range r.committed(topic) {
					if !k.Attrs.IsControl() {
						n++
					}
				}
				if total += n; got.DeliveredByTopic[topic] != n {
					t.Errorf("%s: %d counted, %d there", topic, got.DeliveredByTopic[topic], n)
				}
			}
			if total != 3071 || got.Delivered != total || int64(got.Delivery.Count) != total || got.Redeliveries != 0 {
				t.Errorf("%d delivered, %d in the histogram, %d redelivered; %d are there", got.Delivered, got.Delivery.Count, got.Redeliveries, total)
			}
			if slow := got.Delivery.Count - got.Delivery.Classic[64]; slow != 3000 {
				t.Errorf("%d events took more than 64 s: 3,000 were 90 s old", slow)
			}
			if sum := got.Delivery.Sum; sum < 3000*90 || sum > 3000*120 {
				t.Errorf("they took %f s in all", sum)
			}
		})
	}
}

func TestReport_CountsErrorsAndWhatIsSentAgain(t *testing.T) {
	r := newRig(t, map[string]int32{"orders": 1})
	r.showOnFailure()
	o := r.options()
	open := o.Open
	var taken cutter
	o.Open = taken.around(open)
	w := r.start(o)
	r.exec("insert into outbox.events (topic, payload) select 'orders', to_json(n) from generate_series(1, 500) n")
	r.settled(30 * time.Second)
	w.halt(t)
	seen := map[string]int64{}
	copies := int64(0)
	for _, k := range r.read("orders") {
		if seen[id(k)]++; seen[id(k)] > 1 {
			copies++
		}
	}
	got := w.State().Report()
	if copies == 0 || got.Redeliveries != copies {
		t.Errorf("%d redeliveries, %d copies", got.Redeliveries, copies)
	}
	if got.PublishErrors["cut"] != copies || got.SessionEnds["kafka_cut"] != 1 {
		t.Errorf("errors %v, session ends %v, %d copies", got.PublishErrors, got.SessionEnds, copies)
	}
}

func id(k *kgo.Record) string {
	for _, h := range k.Headers {
		if h.Key == "id" {
			return string(h.Value)
		}
	}
	return ""
}
