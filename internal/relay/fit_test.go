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

// moment is long enough that relay does not believe what it heard before; it does so for 100 ms.
func moment() { <-time.After(150 * time.Millisecond) }

func raiseLimit(t *testing.T, kafka *kgo.Client, topic string) {
	t.Helper()
	limit := "5000000"
	if _, err := kadm.NewClient(kafka).AlterTopicConfigs(t.Context(),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &limit}}, topic); err != nil {
		t.Fatal(err)
	}
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
	moment()
	raiseLimit(t, kafka, "t")
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

// Somebody raises the limit of the dead-letter topic, and then an event dies that needs it: it was left out for good, by
// what was known of the topic.
func TestParked_DeadLettersAreJudgedByWhatTheTopicIsNow(t *testing.T) {
	withEach(t, func(t *testing.T, client publisher.Client) {
		for mode, options := range map[string]func(*rig) Options{"at_least_once": (*rig).options, "exactly_once": (*rig).exactly} {
			t.Run(mode, func(t *testing.T) {
				r := newRig(t, map[string]int32{"t": 1, "dead-letters": 1, progressTopic: 1})
				r.client = client
				lettersByNow(t, r, options(r))
			})
		}
	})
}

func lettersByNow(t *testing.T, r *rig, o Options) {
	r.showOnFailure()
	o.DeadLetterTopic = "dead-letters"
	kafka, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	w := r.start(o)
	lettered := func(n int) {
		t.Helper()
		eventually(t, "the letters are written", 20*time.Second, func() bool {
			return queryRow[int](r, "select count(*) from outbox.parked where lettered_at is not null") == n
		})
	}
	const dead = "insert into outbox.events (topic, partition, payload) values ('t', 7, $1)"
	r.exec(dead, "1")
	lettered(1)
	moment()
	raiseLimit(t, kafka, o.DeadLetterTopic)
	r.exec(dead, `"`+strings.Repeat("x", 2_000_000)+`"`)
	lettered(2)
	w.halt(t)
	if n := len(r.committed(o.DeadLetterTopic)); n != 2 {
		t.Errorf("%d copies, want 2", n)
	}
}
