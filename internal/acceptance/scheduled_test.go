//go:build linux

package acceptance

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestScheduled_EachWithinASecondOfItsTime schedules many events at random times and measures live ones meanwhile.
// RELAY_TEST_SCHEDULED=full schedules a million over ten minutes instead of 40,000 over 40 seconds; =table does too, and
// is content with those of the first two minutes.
func TestScheduled_EachWithinASecondOfItsTime(t *testing.T) {
	binary := setUp(t)
	events, length := 40_000, 40*time.Second
	watched := length
	switch os.Getenv("RELAY_TEST_SCHEDULED") {
	case "full":
		events, length, watched = 1_000_000, 10*time.Minute, 10*time.Minute
	case "table":
		events, length, watched = 1_000_000, 10*time.Minute, 2*time.Minute
	}
	s := newSite(t, nil, nil)
	d := s.relay(binary)
	d.saysSoon("session began", 20*time.Second)
	warm(s, d, 100_000)
	w := s.watch(s.topic)
	alone := w.under(100, 10*time.Second)

	later := s.newTopic(4)
	began := time.Now()
	// The first are due when all of them are surely parked.
	lead := 20*time.Second + time.Duration(events/5_000)*time.Second
	_, err := s.connect().Exec(context.Background(), `
		insert into outbox.events (topic, key, payload, deliver_at)
		select $1, 'key-' || i % 1000, json_build_object('n', i, 'due', floor(extract(epoch from at) * 1000)), at
		  from (select i, clock_timestamp() + make_interval(secs => $3 + random() * $4) as at from generate_series(1, $2::int) i) e`,
		later, events, lead.Seconds(), length.Seconds())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are parked", lead, func() bool {
		time.Sleep(200 * time.Millisecond) // asking costs: it looks at every pending event
		return s.ask("select pending from outbox.lag") == 0
	})
	t.Logf("%d events parked %v after their insert began", events, time.Since(began).Round(time.Millisecond))
	time.Sleep(time.Until(began.Add(lead))) // the load, not a wait: live events are measured while scheduled ones leave
	beside := w.under(100, watched-5*time.Second)
	end := began.Add(lead + watched)
	eventually(t, "all that are due have left", watched, func() bool {
		return time.Now().After(end) &&
			s.ask("select count(*) from (select from outbox.parked where state = 'scheduled' and due_at <= $1 limit 1) p", end) == 0
	})
	d.stop(10 * time.Second)

	expected := events - int(s.ask("select count(*) from outbox.parked"))
	var late []time.Duration
	seen := map[int]bool{}
	twisted, last := 0, map[string]int64{}
	s.readBack(later, func(r *kgo.Record) {
		var event struct {
			N   int   `json:"n"`
			Due int64 `json:"due"`
		}
		if err := json.Unmarshal(r.Value, &event); err != nil {
			t.Fatalf("record %s: %v", r.Value, err)
		}
		if event.Due < last[string(r.Key)] {
			twisted++
		}
		last[string(r.Key)] = event.Due
		seen[event.N] = true
		late = append(late, r.Timestamp.Sub(time.UnixMilli(event.Due)))
	})
	slices.Sort(late)
	t.Logf("lateness p50 %v, p99 %v, p99.9 %v, most %v; live p99 alone %.1f ms, beside %.1f ms", late[len(late)/2],
		late[len(late)*99/100], late[len(late)*999/1000], late[len(late)-1], milliseconds(alone[len(alone)*99/100]), milliseconds(beside[len(beside)*99/100]))
	if len(seen) != expected || len(late) != expected || twisted > 0 || expected < events/10 {
		t.Errorf("%d of %d events, %d records, %d before an earlier one of their key", len(seen), expected, len(late), twisted)
	}
	if late[0] < -time.Millisecond || late[len(late)*999/1000] > time.Second {
		t.Errorf("events left between %v and %v after their time", late[0], late[len(late)-1])
	}
}
