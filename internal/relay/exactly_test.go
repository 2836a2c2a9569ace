package relay

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/franz"
)

const progressTopic = "relay-progress"

// exactly gives the options for delivery exactly_once.
func (r *rig) exactly() Options {
	o := r.options()
	cfg := publisher.Config{Brokers: r.brokers, ClientID: "relay-test", Compression: "none",
		MessageTimeout: UnackedTimeout, TransactionTimeout: TransactionTimeout, Log: o.Log}
	cfg.MaxInFlightRecords, cfg.MaxInFlightBytes = o.ProducerLimits()
	o.ExactlyOnce = &ExactlyOnce{Topic: progressTopic,
		Open: func(ctx context.Context, id string, reports publisher.Reports) (publisher.Transactional, error) {
			c := cfg
			c.TransactionalID = id
			return r.client.OpenTransactional(ctx, c, reports)
		},
		Last: func(ctx context.Context, key string) ([]byte, error) {
			record, err := r.client.Last(ctx, cfg, progressTopic, []byte(key))
			if err != nil || record == nil {
				return nil, err
			}
			return record.Value, nil
		},
		Hanging: func(ctx context.Context, key string, ids ...string) (string, error) {
			return franz.Hanging(ctx, cfg, progressTopic, []byte(key), ids...)
		},
	}
	return o
}

// committed gives the records of a topic that a read_committed consumer sees, up to the end it had.
func (r *rig) committed(topic string) []*kgo.Record {
	r.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.ConsumeTopics(topic), kgo.DisableFetchSessions(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond), kgo.KeepControlRecords())
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	ends := endOffsets(r.t, c, topic)
	var records []*kgo.Record
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	for left(ends) > 0 {
		fetches := c.PollFetches(ctx)
		if ctx.Err() != nil {
			r.t.Fatalf("%d records of topic %s were not read", left(ends), topic)
		}
		fetches.EachRecord(func(k *kgo.Record) {
			if !k.Attrs.IsControl() {
				records = append(records, k)
			}
			if k.Offset+1 >= ends[k.Partition] {
				delete(ends, k.Partition)
			}
		})
	}
	return records
}

func TestExactly_DeliversEachEventOnce(t *testing.T) { withEach(t, deliversEachEventOnce) }

func deliversEachEventOnce(t *testing.T, client publisher.Client) {
	r := newRig(t, map[string]int32{"orders": 4, progressTopic: 1})
	r.client = client
	r.showOnFailure()
	w := r.start(r.exactly())
	for n := range 20 {
		r.exec("insert into outbox.events (topic, key, payload) select 'orders', n % 10, to_json(n) from generate_series($1::int, $2::int) n",
			n*500+1, n*500+500)
	}
	r.settled(20 * time.Second)
	checkOrder(t, r.committed("orders"), 10_000, 0)
	w.halt(t)
	if left := queryRow[int](r, "select count(*) from outbox.relays where candidate is not null"); left != 0 {
		t.Error("a candidate is left after a clean stop")
	}
}

func TestExactly_TakesOverFromOneThatWasCut(t *testing.T) {
	t.Parallel()
	withEach(t, takesOverFromOneThatWasCut)
}

func takesOverFromOneThatWasCut(t *testing.T, client publisher.Client) {
	t.Parallel()
	r := newRig(t, map[string]int32{"orders": 4, progressTopic: 1})
	r.client = client
	r.showOnFailure()
	total := 0
	for round := range 6 {
		w := r.start(r.exactly())
		for range 10 {
			r.exec("insert into outbox.events (topic, key, payload) select 'orders', n % 10, to_json(n) from generate_series($1::int, $2::int) n",
				total+1, total+500)
			total += 500
			time.Sleep(time.Duration(round) * 3 * time.Millisecond) // so that the cut falls elsewhere each time
		}
		w.kill()
		r.exec("update outbox.relays set expires_at = '-infinity'")
	}
	r.start(r.exactly())
	r.settled(20 * time.Second)
	checkOrder(t, r.committed("orders"), total, 0)
}

// TestExactly_ARefusedEventDies: a broker refuses an event while its transaction waits for its acks. The next sessions
// have to learn of it, or they send it for ever.
func TestExactly_ARefusedEventDies(t *testing.T) { withEach(t, aRefusedEventDies) }

func aRefusedEventDies(t *testing.T, client publisher.Client) {
	small := "1000"
	r := newRig(t, map[string]int32{progressTopic: 1})
	r.client = client
	r.showOnFailure()
	r.createTopic("t", 1, map[string]*string{"max.message.bytes": &small})
	// The last of the transaction: the client sends it while the relay waits for its acks.
	r.exec(`insert into outbox.events (topic, key, payload) values ('t', 'a', '1'), ('t', 'c', '2')`)
	r.exec(`insert into outbox.events (topic, key, payload_bytes) select 't', 'b', decode(string_agg(md5(n::text), ''), 'hex') from generate_series(1, 125) n`)
	o := r.exactly()
	o.Compressed = true // so that nobody can know beforehand
	o.ExactlyOnce.Open = func(ctx context.Context, id string, reports publisher.Reports) (publisher.Transactional, error) {
		c := publisher.Config{Brokers: r.brokers, ClientID: "relay-test", Compression: "lz4", TransactionalID: id,
			MessageTimeout: UnackedTimeout, TransactionTimeout: TransactionTimeout, Log: o.Log}
		c.MaxInFlightRecords, c.MaxInFlightBytes = o.ProducerLimits()
		return r.client.OpenTransactional(ctx, c, reports)
	}
	w := r.start(o)
	r.settled(20 * time.Second)
	w.halt(t)
	if got := r.parkedNow(); got != "bytes dead" {
		t.Errorf("parked: %s", got)
	}
	if got := values(r.committed("t")); got != "1 2" {
		t.Errorf("delivered %s", got)
	}
}

func TestExactly_OnApacheKafka(t *testing.T) {
	t.Parallel()
	cluster := kafka.ForTest(t)
	r := newRigOn(t, cluster.Brokers())
	r.showOnFailure()
	topic := fmt.Sprintf("orders-%d", time.Now().UnixNano())
	c, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := kadm.NewClient(c).CreateTopics(t.Context(), 4, 1, nil, topic, progressTopic); err != nil {
		t.Fatal(err)
	}
	w := r.start(r.exactly())
	const events = 50_000
	r.exec("insert into outbox.events (topic, key, payload) select $2, n % 10, to_json(n) from generate_series(1, $1::int) n", events, topic)
	began := time.Now()
	r.settled(60 * time.Second)
	t.Logf("%d events in %v", events, time.Since(began))
	checkOrder(t, r.committed(topic), events, 0)
	w.halt(t)
}
