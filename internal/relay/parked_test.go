package relay

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
)

// parkedNow is what is parked, as "payload state" in order.
func (r *rig) parkedNow() string {
	r.t.Helper()
	return queryRow[string](r, `select coalesce(string_agg(coalesce(payload::text, 'bytes') || ' ' || state, ', ' order by due_at, seq), '') from outbox.parked`)
}

// admin creates topics and changes their configuration.
func (r *rig) admin() *kadm.Client {
	r.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return kadm.NewClient(c)
}

func (r *rig) createTopic(name string, partitions int32, config map[string]*string) {
	r.t.Helper()
	if _, err := r.admin().CreateTopic(r.t.Context(), partitions, 1, config, name); err != nil {
		r.t.Fatal(err)
	}
}

func values(records []*kgo.Record) string {
	var v []string
	for _, k := range records {
		v = append(v, string(k.Value))
	}
	return strings.Join(v, " ")
}

func TestParked_ATopicThatAppearsReleasesItsEventsInOrder(t *testing.T) {
	r := newRig(t, map[string]int32{"there": 4})
	r.showOnFailure()
	w := r.start(r.options())
	r.exec("insert into outbox.events (topic, key, payload) select case when n % 2 = 0 then 'later' else 'there' end, n % 10, to_json(n) from generate_series(1, 4000) n")
	r.settled(20 * time.Second)
	if held := queryRow[int](r, "select count(*) from outbox.parked where state = 'held' and reason like 'no_topic%'"); held != 2000 {
		t.Errorf("%d events are held: %s", held, r.parkedNow())
	}
	checkOrder(t, r.read("there"), 2000, 0)
	r.createTopic("later", 4, nil)
	created := time.Now()
	for n := 4001; queryRow[int](r, "select count(*) from outbox.parked") > 0; n++ { // events go on coming
		r.exec("insert into outbox.events (topic, key, payload) values ('later', $1, to_json($2::int))", fmt.Sprint(n%10), n)
		if time.Since(created) > 15*time.Second {
			t.Fatalf("after 15 s these are parked: %s", r.parkedNow())
		}
	}
	if took := time.Since(created); took > 10*time.Second {
		t.Errorf("released after %v", took)
	}
	r.exec("insert into outbox.events (topic, key, payload) select 'later', n % 10, to_json(n) from generate_series(100000, 100100) n")
	r.settled(10 * time.Second)
	eventually(t, "nothing is parked", 10*time.Second, func() bool { return r.parkedNow() == "" })
	w.halt(t)
	records := r.read("later")
	checkOrder(t, records, len(records), 0)
	if n := queryRow[int](r, "select count(*) from outbox.events where topic = 'later'"); n != len(records) {
		t.Errorf("%d records for %d events", len(records), n)
	}
}

// A service that makes its topic and writes the first event at once, while the broker that is asked has not heard of the
// topic, must not wait for seconds.
func TestParked_ATopicThatIsAMomentLateCostsAMoment(t *testing.T) {
	t.Parallel()
	withEach(t, func(t *testing.T, client publisher.Client) {
		r := newRig(t, map[string]int32{"unused": 1})
		r.client = client
		r.showOnFailure()
		w := r.start(r.options())
		r.exec("insert into outbox.events (topic, key, payload) values ('late', 'a', '1')")
		eventually(t, "the event is held", 10*time.Second, func() bool { return strings.Contains(r.parkedNow(), "held") })
		r.createTopic("late", 1, nil)
		made := time.Now()
		eventually(t, "the event is released", 10*time.Second, func() bool { return r.parkedNow() == "" })
		if took := time.Since(made); took > 3*time.Second {
			t.Errorf("the event waited for %v", took)
		}
		r.exec("insert into outbox.events (topic, key, payload) values ('late', 'a', '2')")
		r.settled(10 * time.Second) // feed may not have heard of the topic yet: then the event is held, too
		eventually(t, "nothing is parked", 10*time.Second, func() bool { return r.parkedNow() == "" })
		w.halt(t)
		if got := values(r.read("late")); got != "1 2" {
			t.Errorf("delivered %s", got)
		}
	})
}

func TestParked_ADeadEventHoldsItsKeyUntilSomebodyDecides(t *testing.T) {
	small := "1000"
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	r.createTopic("t", 1, map[string]*string{"max.message.bytes": &small})
	w := r.start(r.options())
	large := `to_json(repeat('x', 2000))`
	r.exec(`insert into outbox.events (topic, key, payload) values ('t', 'a', '1'), ('t', 'a', ` + large + `), ('t', 'b', '2'), ('t', 'a', '3'), ('t', 'a', '4')`)
	r.settled(10 * time.Second)
	states := func() string {
		return queryRow[string](r, "select coalesce(string_agg(length(payload::text) || ' ' || state, ', ' order by due_at, seq), '') from outbox.parked")
	}
	if got := states(); got != "2002 dead, 1 behind, 1 behind" {
		t.Fatalf("parked: %s", got)
	}
	if got := values(r.read("t")); got != "1 2" {
		t.Errorf("delivered %s", got)
	}
	// Dropped: what was behind goes, and the key is free.
	r.exec("delete from outbox.parked where state = 'dead'")
	r.exec("insert into outbox.operations (verb, events) values ('drop', 1)")
	eventually(t, "what was behind is released", 10*time.Second, func() bool { return states() == "" })
	eventually(t, "the key goes on by itself", 10*time.Second, func() bool {
		r.exec("insert into outbox.events (topic, key, payload) values ('t', 'a', '5')")
		r.settled(10 * time.Second)
		return states() == ""
	})
	w.halt(t)
	if got := values(r.read("t")); !strings.HasPrefix(got, "1 2 3 4 5") {
		t.Errorf("delivered %s", got)
	}
}

func TestParked_ARetriedEventGoesBeforeThoseBehindIt(t *testing.T) {
	small, large := "1000", "100000"
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	r.createTopic("t", 1, map[string]*string{"max.message.bytes": &small})
	w := r.start(r.options())
	r.exec(`insert into outbox.events (topic, key, payload) values ('t', 'a', to_json(repeat('x', 2000))), ('t', 'a', '3'), ('t', 'a', '4')`)
	r.settled(10 * time.Second)
	_, err := r.admin().AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &large}}, "t")
	if err != nil {
		t.Fatal(err)
	}
	w.halt(t)
	r.exec("update outbox.parked set state = 'held' where state = 'dead'")
	w = r.start(r.options()) // asks for the topic's limit anew
	eventually(t, "all is released", 10*time.Second, func() bool { return r.parkedNow() == "" })
	w.halt(t)
	if got := values(r.read("t")); len(got) != 2002+4 || !strings.HasSuffix(got, " 3 4") {
		t.Errorf("delivered %d bytes, ending in %s", len(got), got[max(0, len(got)-10):])
	}
}

func TestParked_SkipLetsTheKeyGoOn(t *testing.T) {
	r := newRig(t, map[string]int32{"t": 4})
	r.showOnFailure()
	o := r.options()
	o.SkipDead = true
	w := r.start(o)
	r.exec(`insert into outbox.events (topic, key, payload, partition) values ('t', 'a', '1', 0), ('t', 'a', '2', 99), ('t', 'a', '3', 0)`)
	r.settled(10 * time.Second)
	w.halt(t)
	if got := r.parkedNow(); got != "2 dead" {
		t.Errorf("parked: %s", got)
	}
	if got := values(r.read("t")); got != "1 3" {
		t.Errorf("delivered %s", got)
	}
}

func TestParked_ScheduledEventsLeaveAtTheirTimeAndInIt(t *testing.T) {
	r := newRig(t, map[string]int32{"t": 4})
	r.showOnFailure()
	w := r.start(r.options())
	r.exec(`insert into outbox.events (topic, key, payload, deliver_at)
		select 't', n % 10, to_json(n), now() + interval '4 seconds' + n * interval '2 milliseconds' from generate_series(1, 1000) n`)
	r.exec(`insert into outbox.events (topic, key, payload, deliver_at) values ('t', 'x', '5000', now() - interval '1 hour')`)
	r.settled(10 * time.Second)
	if n := w.State().Report().Parked; n != 1000 {
		t.Errorf("%d events were scheduled", n)
	}
	eventually(t, "all have left", 25*time.Second, func() bool { return r.parkedNow() == "" })
	w.halt(t)
	due := map[string]time.Time{}
	rows, _ := r.db.Query(t.Context(), "select payload::text, deliver_at from outbox.events")
	for rows.Next() {
		var payload string
		var at time.Time
		if err := rows.Scan(&payload, &at); err != nil {
			t.Fatal(err)
		}
		due[payload] = at
	}
	records := r.read("t")
	checkOrder(t, records, 1001, 0)
	tardy := 0
	for _, k := range records {
		if string(k.Value) == "5000" {
			continue
		}
		late := k.Timestamp.Sub(due[string(k.Value)])
		if late < -5*time.Millisecond || late > 5*time.Second {
			t.Errorf("event %s left %v after its time", k.Value, late)
		}
		if late > time.Second {
			tardy++
		}
	}
	if tardy > 10 { // the machine may be busy for a moment
		t.Errorf("%d of 1000 events left more than a second after their time", tardy)
	}
}

func TestParked_DeadLettersTellTheStory(t *testing.T) {
	r := newRig(t, map[string]int32{"t": 2, "dead-letters": 1})
	r.showOnFailure()
	o := r.options()
	o.DeadLetterTopic = "dead-letters"
	w := r.start(o)
	r.exec(`insert into outbox.events (topic, key, payload, partition, headers) values ('t', 'a', '{"a": 1}', 7, '{"h": "v"}')`)
	eventually(t, "the letter is written", 10*time.Second, func() bool {
		return queryRow[int](r, "select count(*) from outbox.parked where lettered_at is not null") == 1
	})
	w.halt(t)
	letters := r.read("dead-letters")
	if len(letters) != 1 || string(letters[0].Key) != "a" || string(letters[0].Value) != `{"a": 1}` {
		t.Fatalf("letters %v", letters)
	}
	headers := map[string]string{}
	for _, h := range letters[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	if headers["h"] != "v" || headers["relay-original-topic"] != "t" || !strings.HasPrefix(headers["relay-reason"], "bad_partition") ||
		headers["relay-attempts"] != "0" || headers["relay-parked-at"] == "" || headers["id"] == "" {
		t.Errorf("headers %v", headers)
	}
	if got := r.parkedNow(); got != `{"a": 1} dead` {
		t.Errorf("parked: %s", got)
	}
}

func TestParked_WhatCannotBeParkedIsNotPassed(t *testing.T) {
	r := newRig(t, map[string]int32{"t": 1})
	r.showOnFailure()
	r.exec(`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no room'; end $$;
		create trigger refuse before insert on outbox.parked for each row execute function refuse()`)
	w := r.start(r.options())
	r.exec(`insert into outbox.events (topic, key, payload) values ('missing', 'a', '1'), ('t', 'a', '2')`)
	eventually(t, "the session ends because an event cannot be parked", 20*time.Second, func() bool {
		return w.State().Report().SessionEnds["postgres"] > 0
	})
	r.exec("drop trigger refuse on outbox.parked")
	r.settled(20 * time.Second)
	w.halt(t)
	if got := r.parkedNow(); got != "1 held" {
		t.Errorf("parked: %s", got)
	}
}

func TestParked_ARetryThatFailsAgainLetsNothingPass(t *testing.T) {
	r := newRig(t, map[string]int32{"t": 4})
	r.showOnFailure()
	w := r.start(r.options())
	r.exec(`insert into outbox.events (topic, key, payload, partition) values ('t', 'a', '1', 99), ('t', 'a', '2', null), ('t', 'b', '3', null)`)
	r.settled(10 * time.Second)
	r.exec("select outbox.parked_retry(array(select id from outbox.parked where state = 'dead'))")
	eventually(t, "the event is dead once more", 10*time.Second, func() bool {
		return queryRow[int](r, "select count(*) from outbox.parked where state = 'dead' and attempts > 0") == 1
	})
	r.exec(`insert into outbox.events (topic, key, payload) values ('t', 'a', '4')`)
	r.settled(10 * time.Second)
	if got := values(r.read("t")); got != "3" {
		t.Errorf("delivered %s", got)
	}
	r.exec("update outbox.parked set partition = null, state = 'held' where state = 'dead'")
	r.exec("select outbox.parked_retry(array(select id from outbox.parked))")
	eventually(t, "all is released", 10*time.Second, func() bool { return r.parkedNow() == "" })
	w.halt(t)
	if got := values(r.read("t")); !strings.Contains(got, "1 2 4") {
		t.Errorf("delivered %s", got)
	}
}

func TestParked_LargeEventsAreReleasedInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	w := r.start(r.options())
	r.exec(`insert into outbox.events (topic, key, payload) select 'later', 'a', to_json(n || repeat('x', 900000)) from generate_series(10, 40) n`)
	r.settled(30 * time.Second)
	r.createTopic("later", 1, nil)
	eventually(t, "all is released", 30*time.Second, func() bool { return queryRow[int](r, "select count(*) from outbox.parked") == 0 })
	w.halt(t)
	records := r.read("later")
	for i, k := range records {
		if want := strconv.Itoa(10 + i); string(k.Value[1:3]) != want {
			t.Errorf("record %d is event %s", i, k.Value[1:3])
		}
	}
	if len(records) != 31 {
		t.Errorf("%d records", len(records))
	}
}

// A replay of yesterday's events is no late delivery, and must wake nobody.
func TestParked_AReplayCountsFromWhenItWasAskedFor(t *testing.T) {
	r := newRig(t, map[string]int32{"t": 1})
	w := r.start(r.options())
	r.exec(`insert into outbox.events (topic, key, payload) values ('t', 'a', '1')`)
	r.settled(10 * time.Second)
	r.exec(`insert into outbox.parked (name, seq, state, id, topic, key, payload, created_at)
		select 'main', seq, 'replay', id, topic, key, payload, created_at - interval '1 day' from outbox.events`)
	eventually(t, "the copy is published", 10*time.Second, func() bool { return r.parkedNow() == "" })
	w.halt(t)
	if d := w.State().Report().Delivery; d.Count != 2 || d.Sum > 60 {
		t.Errorf("%d deliveries, together %.0f s", d.Count, d.Sum)
	}
}
