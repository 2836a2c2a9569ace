package relay

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
)

// Somebody raises a topic's limit, or gives it more partitions, and then writes an event that needs it, sooner than
// relay asks about topics by itself. The event is not dead.
func TestSession_JudgesByWhatTheTopicIsNow(t *testing.T) {
	withEach(t, func(t *testing.T, client publisher.Client) {
		r := newRig(t, map[string]int32{"t": 1})
		r.client = client
		judgesByNow(t, r, r.options())
	})
}

func TestExactly_JudgesByWhatTheTopicIsNow(t *testing.T) {
	withEach(t, func(t *testing.T, client publisher.Client) {
		r := newRig(t, map[string]int32{"t": 1, progressTopic: 1})
		r.client = client
		judgesByNow(t, r, r.exactly())
	})
}

func judgesByNow(t *testing.T, r *rig, o Options) {
	r.showOnFailure()
	w := r.start(o)
	r.exec("insert into outbox.events (topic, key, payload) values ('t', 'k', to_json('first'::text))")
	r.settled(10 * time.Second)
	kafka, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	moment := func() { <-time.After(150 * time.Millisecond) } // what relay heard within 100 ms it believes
	moment()
	limit := "5000000"
	if _, err := kadm.NewClient(kafka).AlterTopicConfigs(t.Context(),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &limit}}, "t"); err != nil {
		t.Fatal(err)
	}
	large := `"` + strings.Repeat("x", 2_000_000) + `"`
	r.exec("insert into outbox.events (topic, key, payload) values ('t', 'k', $1), ('t', 'k', to_json('third'::text))", large)
	r.settled(20 * time.Second)
	moment()
	if _, err := kadm.NewClient(kafka).UpdatePartitions(t.Context(), 3, "t"); err != nil {
		t.Fatal(err)
	}
	r.exec("insert into outbox.events (topic, key, partition, payload) values ('t', 'k', 2, to_json('fourth'::text))")
	r.settled(20 * time.Second)
	w.halt(t)
	if n := queryRow[int](r, "select count(*) from outbox.parked"); n != 0 {
		t.Errorf("%d events are parked: %s", n, queryRow[string](r, "select string_agg(state || ' ' || reason, ', ') from outbox.parked"))
	}
	var got []string
	for _, k := range r.committed("t") {
		got = append(got, string(k.Value[1:6]))
	}
	slices.Sort(got) // of two partitions
	if all := strings.Join(got, " "); all != "first fourt third xxxxx" {
		t.Errorf("records: %s", all)
	}
}
