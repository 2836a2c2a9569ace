package relay

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/publisher"
)

// guarded is a real Kafka that obeys ACLs; who has none may do everything.
func guarded(t *testing.T) *kafka.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real Kafka")
	}
	c, err := kafka.Start(t.Context(), kafka.Options{Nodes: 1, Properties: map[string]string{
		"authorizer.class.name":          "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"allow.everyone.if.no.acl.found": "true",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

// forbid denies everybody to write a topic; the function takes that back.
func (r *rig) forbid(topic string) (allow func()) {
	r.t.Helper()
	acl := func() *kadm.ACLBuilder {
		return kadm.NewACLs().Topics(topic).ResourcePatternType(kadm.ACLPatternLiteral).
			Deny("User:*").DenyHosts("*").Operations(kadm.OpWrite)
	}
	created, err := r.admin().CreateACLs(r.t.Context(), acl())
	if err != nil || len(created) != 1 || created[0].Err != nil {
		r.t.Fatalf("create an ACL: %v %+v", err, created)
	}
	return func() {
		deleted, err := r.admin().DeleteACLs(r.t.Context(), acl())
		if err != nil || len(deleted) != 1 || deleted[0].Err != nil || len(deleted[0].Deleted) != 1 {
			r.t.Fatalf("delete the ACL: %v %+v", err, deleted)
		}
	}
}

// TestReal_WhatCannotGoStandsAsideAndTheRestArrives has one event of each kind that Kafka would not take, with 10,000
// healthy ones around them.
func TestReal_WhatCannotGoStandsAsideAndTheRestArrives(t *testing.T) {
	t.Parallel()
	cluster := guarded(t)
	r := newRigOn(t, cluster.Brokers())
	r.showOnFailure()
	limit, compact := "2000", "compact"
	r.createTopic("healthy", 4, nil)
	r.createTopic("limited", 1, map[string]*string{"max.message.bytes": &limit})
	r.createTopic("compacted", 1, map[string]*string{"cleanup.policy": &compact})
	r.createTopic("forbidden", 4, nil)
	allow := r.forbid("forbidden")

	const half = `insert into outbox.events (topic, key, payload) select 'healthy', n % 100, to_json(n) from generate_series($1::int, $2::int) n`
	r.exec(half, 1, 5000)
	fits, over := r.atTheLimit(2000)
	r.exec("alter table outbox.events drop constraint events_topic_name") // a name that only an older table lets in
	r.exec(`insert into outbox.events (topic, key, payload) values
		('missing', 'm', '1'), ('missing', 'm', '2'), ('forbidden', 'f', '1'), ('forbidden', 'f', '2'),
		('no such name!', 'n', '1'), ('compacted', null, '1'), ('compacted', 'c', '2')`)
	r.exec(`insert into outbox.events (topic, key, payload_bytes) values ('limited', 'l', $1), ('limited', 'o', $2), ('limited', 'o', $3)`,
		fits, over, []byte("after"))
	r.exec(`insert into outbox.events (topic, key, payload, partition) values ('healthy', '7', '0', 99)`)
	r.exec(`insert into outbox.events (topic, key, payload, headers) select 'healthy', '8', '0', json_object_agg('h' || n, 'v') from generate_series(1, 10000) n`)
	r.exec(half, 5001, 10000)

	w := r.start(r.options())
	r.settled(60 * time.Second)
	rows, _ := r.db.Query(t.Context(), "select topic || ' ' || state || ' ' || split_part(reason, ':', 1) from outbox.parked where topic <> 'healthy' order by seq")
	var got []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	want := []string{"missing held no_topic", "missing held no_topic", "forbidden held forbidden", "forbidden held forbidden",
		"no such name! held invalid_topic", "compacted dead invalid_record", "limited dead too_large",
		"limited behind an earlier event of the key is held or dead"}
	if !slices.Equal(got, want) {
		t.Errorf("parked:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	reasons := queryRow[string](r, "select string_agg(split_part(reason, ':', 1), ', ' order by seq) from outbox.parked where topic = 'healthy' and state = 'dead'")
	if reasons != "bad_partition, too_many_headers" {
		t.Errorf("dead in the healthy topic: %s", reasons)
	}
	// The two dead ones hold their keys 7 and 8; everything else of the 10,000 arrived in order.
	held := queryRow[int](r, "select count(*) from outbox.parked where topic = 'healthy' and state = 'behind'")
	if held != 100 {
		t.Errorf("%d healthy events are behind the dead ones of keys 7 and 8", held)
	}
	checkOrder(t, r.read("healthy"), 10000-held, 0)
	if got := values(r.read("limited")); got != string(fits) {
		t.Errorf("the event that just fits did not arrive: %d bytes", len(got))
	}
	if got := values(r.read("compacted")); got != "2" {
		t.Errorf("compacted: %s", got)
	}

	// The cures: a topic that appears, a right that is granted, dead ones dropped.
	cured := time.Now()
	r.createTopic("missing", 1, nil)
	allow()
	r.exec("delete from outbox.parked where state = 'dead'")
	r.exec("insert into outbox.operations (verb, events) values ('drop', 4)")
	eventually(t, "everything else is released", 20*time.Second, func() bool {
		return queryRow[int](r, "select count(*) from outbox.parked where topic <> 'no such name!'") == 0
	})
	t.Logf("released %v after the cures", time.Since(cured).Round(10*time.Millisecond))
	if took := time.Since(cured); took > 12*time.Second {
		t.Errorf("the release took %v", took)
	}
	w.halt(t)
	for topic, want := range map[string]string{"missing": "1 2", "forbidden": "1 2", "limited": string(fits) + " after"} {
		if got := values(r.read(topic)); got != want {
			t.Errorf("topic %s: %.50s", topic, got)
		}
	}
	checkOrder(t, r.read("healthy"), 10000, 0)
}

// atTheLimit gives a payload whose record just fits into a batch of this size, and one that is a byte too long.
func (r *rig) atTheLimit(limit int) (fits, over []byte) {
	record := publisher.Record{Key: []byte("l"), Headers: []publisher.Header{{Key: "id", Value: make([]byte, 36)},
		{Key: "created_at", Value: make([]byte, len("2006-01-02T15:04:05.000000Z"))}}}
	for n := 1; ; n++ {
		record.Value = []byte(strings.Repeat("x", n))
		if record.BatchSize() == limit {
			return record.Value, []byte(strings.Repeat("y", n+1))
		}
		if record.BatchSize() > limit {
			r.t.Fatalf("no payload makes a batch of exactly %d bytes", limit)
		}
	}
}

// TestReal_ADeletedTopicIsHeldAndItsEventsComeBack deletes a topic under load and makes it again.
func TestReal_ADeletedTopicIsHeldAndItsEventsComeBack(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real Kafka")
	}
	t.Parallel()
	r := newRigOn(t, kafka.ForTest(t).Brokers())
	r.showOnFailure()
	name := "t" + strconv.FormatInt(time.Now().UnixNano(), 36)
	r.createTopic(name, 2, nil)
	r.createTopic(name+"-other", 2, nil)
	w := r.start(r.options())
	insert := func(from, to int) {
		r.exec("insert into outbox.events (topic, key, payload) select $1, n % 10, to_json(n) from generate_series($2::int, $3::int) n", name, from, to)
		r.exec("insert into outbox.events (topic, key, payload) select $1, n % 10, to_json(n) from generate_series($2::int, $3::int) n", name+"-other", from, to)
	}
	insert(1, 1000)
	r.settled(30 * time.Second)
	if _, err := r.admin().DeleteTopic(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "events of the deleted topic are held", 60*time.Second, func() bool {
		n := queryRow[int](r, "select coalesce(max(payload::text::int), 1000) from outbox.events where topic = $1", name)
		insert(n+1, n+20)
		return queryRow[int](r, "select count(*) from outbox.parked where state = 'held'") > 0
	})
	r.createTopic(name, 2, nil)
	eventually(t, "all is released", 60*time.Second, func() bool {
		return queryRow[int](r, "select count(*) from outbox.delivery where status <> 'delivered'") == 0
	})
	w.halt(t)
	written := queryRow[int](r, "select max(payload::text::int) from outbox.events")
	checkOrder(t, r.read(name+"-other"), written, usualRows) // the session ended with these in flight
	again := r.read(name)
	last := map[string]int{}
	for _, k := range again { // what was acked before the deletion is gone with the old topic
		n, _ := strconv.Atoi(string(k.Value))
		if n <= last[string(k.Key)] {
			t.Errorf("event %d of key %s came after %d", n, k.Key, last[string(k.Key)])
		}
		last[string(k.Key)] = n
	}
	if len(again) == 0 || slices.Max(slices.Collect(maps.Values(last))) != written {
		t.Errorf("the new topic has %d records, up to %v of %d", len(again), last, written)
	}
}
