package relay

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
)

func TestRelay_DeliversWhatWasCommittedAsItWasWritten(t *testing.T) {
	r := newRig(t, map[string]int32{"orders": 4})
	w := r.start(r.options())
	r.exec(`insert into outbox.events (id, topic, key, type, payload, headers) values
		('0b0c1f3c-6f2e-4d0a-9a1b-2c3d4e5f6071', 'orders', '42', 'OrderPlaced', '{"total":  "9.90", "x": "\u0000"}',
		 '{"traceparent": "00-ab", "q": "a\"b", "n": 1, "none": null, "q": "again"}')`)
	r.exec(`insert into outbox.events (topic, key, payload_bytes) values ('orders', '', '\x00ff')`)
	r.exec(`insert into outbox.events (topic, key) values ('orders', 'gone')`)
	r.exec(`insert into outbox.events (topic, payload, partition) values ('orders', 'null', 3)`)
	r.exec("begin")
	r.exec(`insert into outbox.events (topic, payload) values ('orders', '"never"')`)
	r.exec("rollback")
	r.settled(10 * time.Second)
	w.halt(t)

	records := r.read("orders")
	if len(records) != 4 {
		t.Fatalf("%d records", len(records))
	}
	byKey := map[string]*kgo.Record{}
	for _, k := range records {
		byKey[fmt.Sprintf("%q %v", k.Key, k.Key == nil)] = k
	}
	placed := byKey[`"42" false`]
	if placed == nil || string(placed.Value) != `{"total":  "9.90", "x": "\u0000"}` {
		t.Fatalf("the payload is not what was written: %+v", placed)
	}
	var names []string
	for _, h := range placed.Headers {
		names = append(names, h.Key)
	}
	if got := strings.Join(names, " "); got != "id type created_at traceparent q n none q" {
		t.Errorf("headers %s", got)
	}
	header := func(i int) string { return string(placed.Headers[i].Value) }
	if header(0) != "0b0c1f3c-6f2e-4d0a-9a1b-2c3d4e5f6071" || header(1) != "OrderPlaced" || header(3) != "00-ab" ||
		header(4) != `a"b` || header(5) != "1" || placed.Headers[6].Value != nil || header(7) != "again" {
		t.Errorf("header values %q", placed.Headers)
	}
	if at, err := time.Parse("2006-01-02T15:04:05.000000Z", header(2)); err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("created_at %q", header(2))
	}
	if empty := byKey[`"" false`]; empty == nil || !bytes.Equal(empty.Value, []byte{0, 0xff}) {
		t.Errorf("the event with an empty key: %+v", empty)
	}
	if gone := byKey[`"gone" false`]; gone == nil || gone.Value != nil {
		t.Errorf("the tombstone: %+v", gone)
	}
	if spread := byKey[`"" true`]; spread == nil || string(spread.Value) != "null" || spread.Partition != 3 {
		t.Errorf("the event without a key: %+v", spread)
	}
}

func TestRelay_ResumesFromTheCursorRowWithoutCopies(t *testing.T) {
	withEach(t, resumesFromTheCursorRowWithoutCopies)
}

func resumesFromTheCursorRowWithoutCopies(t *testing.T, client publisher.Client) {
	r := newRig(t, map[string]int32{"orders": 4})
	r.client = client
	r.showOnFailure()
	for round := range 3 {
		w := r.start(r.options())
		r.exec(`insert into outbox.events (topic, key, payload) select 'orders', n % 50, to_json(n)
			from generate_series($1::int, $2::int) n`, round*3000+1, round*3000+3000)
		r.settled(20 * time.Second)
		w.halt(t)
		if holder := queryRow[*string](r, "select holder from outbox.relays"); holder != nil {
			t.Errorf("the lease is still held by %s", *holder)
		}
	}
	checkOrder(t, r.read("orders"), 9000, 0)
}

// checkOrder wants each payload 1 … n once, but for copies, and ascending for each key where first seen.
func checkOrder(t *testing.T, records []*kgo.Record, n, copies int) {
	t.Helper()
	seen := map[string]int{}
	last := map[string]int{}
	twisted := 0
	for _, k := range records {
		var v int
		if _, err := fmt.Sscan(string(k.Value), &v); err != nil {
			t.Fatalf("value %q: %v", k.Value, err)
		}
		seen[string(k.Value)]++
		if seen[string(k.Value)] > 1 {
			continue
		}
		if v <= last[string(k.Key)] {
			twisted++
		}
		last[string(k.Key)] = v
	}
	if len(seen) != n || len(records)-len(seen) > copies || twisted > 0 {
		t.Errorf("%d of %d events, %d copies (at most %d), %d out of order", len(seen), n, len(records)-len(seen), copies, twisted)
	}
}

func TestRelay_SleepsUntilAnInsertRings(t *testing.T) {
	r := newRig(t, map[string]int32{"t": 1})
	r.showOnFailure()
	o := r.options()
	o.Wake = "listen"
	w := r.start(o)
	asleep := func() bool {
		return queryRow[int](r, `select count(*) from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock'
			and classid = 7090210 and granted and database = (select oid from pg_database where datname = current_database())`) == 1
	}
	quickest := time.Hour // the first event meets a cold producer, and the machine may be busy
	for n := range 3 {
		eventually(t, "the relay sleeps", 10*time.Second, asleep)
		r.exec("insert into outbox.events (topic, payload) values ('t', to_json($1::int))", n+1)
		began := time.Now()
		r.settled(10 * time.Second)
		quickest = min(quickest, time.Since(began))
	}
	if quickest > asleepFor/2 {
		t.Errorf("the quickest of three events took %v: only the safety poll found it", quickest)
	}
	w.halt(t)
	eventually(t, "the bell of a stopped relay is gone", 10*time.Second, func() bool { return !asleep() })
	checkOrder(t, r.read("t"), 3, 0)
}

func TestRelay_AFollowerLeadsAtOnceAfterACleanStop(t *testing.T) {
	r := newRig(t, map[string]int32{"t": 4})
	r.showOnFailure()
	first := r.start(r.options())
	eventually(t, "the first leads", 10*time.Second, func() bool { return first.State().Report().InSession })
	second := r.start(r.options())
	r.exec("insert into outbox.events (topic, key, payload) select 't', n % 10, to_json(n) from generate_series(1, 2000) n")
	first.halt(t)
	began := time.Now()
	eventually(t, "the second leads", 10*time.Second, func() bool { return second.State().Report().Leading })
	if took := time.Since(began); took > 5*time.Second { // a lease that is left to expire takes 15 s
		t.Errorf("the follower led after %v", took)
	}
	r.exec("insert into outbox.events (topic, key, payload) select 't', n % 10, to_json(n) from generate_series(2001, 3000) n")
	r.settled(20 * time.Second)
	second.halt(t)
	checkOrder(t, r.read("t"), 3000, 0)
}
