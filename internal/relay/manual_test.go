package relay

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

// manual is a working producer without a broker: it keeps what it is sent, and acks or fails when the test says so.
type manual struct {
	reports publisher.Reports
	mu      sync.Mutex
	sent    []manualRecord
	answer  int // index of the next record to be answered by all
	dead    chan struct{}
	err     error
	closed  bool
	auto    bool // ack at once
	shy     bool // ack when flushed
}

type manualRecord struct {
	topic, key, value string
	tag               any
	answered          bool
}

var errManual = publisher.NewError(publisher.ClassTransport, "the test cut the connection")

func (m *manual) Flush() {
	if m.shy {
		m.ack(0, len(m.values()))
	}
}

func (m *manual) Send(_ context.Context, r *publisher.Record, tag any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.sent = append(m.sent, manualRecord{topic: r.Topic, key: string(r.Key), value: string(r.Value), tag: tag, answered: m.auto})
	if m.auto {
		m.reports.Acked(tag, 0, int64(len(m.sent)))
	}
	return nil
}

func (m *manual) Topic(_ context.Context, name string) (publisher.Topic, error) {
	if name == "missing" {
		return publisher.Topic{}, publisher.NewError(publisher.ClassNoTopic, "the topic does not exist")
	}
	return publisher.Topic{Name: name, Partitions: 1}, nil
}

func (m *manual) TopicNow(ctx context.Context, name string) (publisher.Topic, error) {
	return m.Topic(ctx, name)
}

func (m *manual) InFlight() int { return 0 }

func (m *manual) Dead() <-chan struct{} { return m.dead }

func (m *manual) Err() error { return m.err }

func (m *manual) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for i := range m.sent {
		if !m.sent[i].answered {
			m.sent[i].answered = true
			m.reports.Failed(m.sent[i].tag, errManual)
		}
	}
}

// ack answers the records [from, to) that were sent.
func (m *manual) ack(from, to int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := from; i < to; i++ {
		if m.sent[i].answered {
			continue
		}
		m.sent[i].answered = true
		m.reports.Acked(m.sent[i].tag, 0, int64(i))
	}
}

// reject fails one record.
func (m *manual) reject(i int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent[i].answered = true
	m.reports.Failed(m.sent[i].tag, err)
}

func (m *manual) values() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var v []string
	for _, r := range m.sent {
		v = append(v, r.value)
	}
	return v
}

// manuals hands out manual producers, one a session.
type manuals struct {
	mu   sync.Mutex
	made []*manual
	auto bool
	shy  bool
}

func (f *manuals) onto(o Options) Options {
	o.Ping = func(context.Context) error { return nil }
	o.Open = func(reports publisher.Reports) (publisher.Producer, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		m := &manual{reports: reports, dead: make(chan struct{}), auto: f.auto, shy: f.shy}
		f.made = append(f.made, m)
		return m, nil
	}
	return o
}

// nth waits for the n-th session's producer to have been sent this many records.
func (f *manuals) nth(t testing.TB, n, records int) *manual {
	t.Helper()
	var m *manual
	eventually(t, "the producer has got its records", 20*time.Second, func() bool {
		f.mu.Lock()
		if len(f.made) > n {
			m = f.made[n]
		}
		f.mu.Unlock()
		return m != nil && len(m.values()) >= records
	})
	return m
}

func (r *rig) delivered() int64 {
	return queryRow[int64](r, "select coalesce(sum(delivered), 0)::bigint from outbox.relays")
}

func TestSession_SettlesOnlyTheContiguousAckedPrefix(t *testing.T) {
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	r.exec("insert into outbox.events (topic, key, payload) select 't', n % 7, to_json(n) from generate_series(1, 3500) n")
	f := &manuals{}
	w := r.start(f.onto(r.options()))
	m := f.nth(t, 0, 3500)

	holds := func(want int64) {
		t.Helper()
		for until := time.Now().Add(4 * settleEvery); time.Now().Before(until); time.Sleep(settleEvery / 5) {
			if got := r.delivered(); got != want {
				t.Fatalf("%d events are settled, not %d", got, want)
			}
		}
	}
	holds(0) // nothing was acked
	m.ack(1000, 2500)
	holds(0) // the second batch is acked, the first is not
	m.ack(0, 999)
	holds(0) // one row of the first is missing
	m.ack(999, 1000)
	eventually(t, "two batches are settled", 5*time.Second, func() bool { return r.delivered() == 2000 })
	holds(2000)
	m.ack(2500, 3500)
	eventually(t, "all is settled", 5*time.Second, func() bool { return r.delivered() == 3500 })
	w.halt(t)
}

func TestSession_AfterAFailureSendsOnlyWhatWasNotAcked(t *testing.T) {
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	r.exec("insert into outbox.events (topic, key, payload) select 't', n % 7, to_json(n) from generate_series(1, 10) n")
	f := &manuals{}
	w := r.start(f.onto(r.options()))
	m := f.nth(t, 0, 10)
	m.ack(0, 3)
	m.ack(5, 7)
	m.reject(3, errManual)
	second := f.nth(t, 1, 5)
	if got := second.values(); len(got) != 5 || got[0] != "4" || got[1] != "5" || got[2] != "8" || got[4] != "10" {
		t.Errorf("the next session sent %v", got)
	}
	second.ack(0, 5)
	r.settled(5 * time.Second)
	w.halt(t)
	if got := r.delivered(); got != 10 {
		t.Errorf("%d events are booked as delivered", got)
	}
}

func TestSession_StartsFromTheRowNotFromMemory(t *testing.T) {
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	f := &manuals{auto: true}
	w := r.start(f.onto(r.options()))
	before := queryRow[string](r, "select pg_current_snapshot()::text")
	r.exec("insert into outbox.events (topic, payload) select 't', to_json(n) from generate_series(1, 10) n")
	r.settled(10 * time.Second)
	// As after the promotion of a standby that had not got the last settles: the row is older than what the leader
	// remembers, and its connections are gone.
	r.exec("update outbox.relays set window_from = $1, window_to = null, after_seq = 0, floor_seq = 0, anchor_xid = '0', timeline = 0", before)
	r.exec(`select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'relay %' and datname = current_database()`)
	r.exec("insert into outbox.events (topic, payload) values ('t', '11')") // so that a session which skips the ten has something to send
	if first := f.nth(t, 1, 1).values()[0]; first != "1" {
		t.Fatalf("the next session began with event %s", first)
	}
	if n := len(f.nth(t, 1, 11).values()); n != 11 {
		t.Errorf("%d events were sent, of ten again and one", n)
	}
	w.halt(t)
}

func TestSession_CondemnsARowOnlyAfterItWasRefusedAlone(t *testing.T) {
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	r.exec("insert into outbox.events (topic, key, payload) select 't', n % 2, to_json(n) from generate_series(1, 6) n")
	f := &manuals{}
	w := r.start(f.onto(r.options()))
	large := publisher.NewError(publisher.ClassTooLarge, "too large")
	first := f.nth(t, 0, 6)
	first.ack(0, 2)
	for _, i := range []int{2, 3} { // one is to blame, its neighbour is hit as well
		first.reject(i, large)
	}
	second := f.nth(t, 1, 1)
	if got := second.values(); len(got) != 1 || got[0] != "3" {
		t.Fatalf("a suspect was not sent alone: %v", got)
	}
	second.reject(0, large)
	third := f.nth(t, 2, 1)
	if got := third.values(); got[0] != "4" {
		t.Fatalf("the other suspect was not sent alone: %v", got)
	}
	third.ack(0, 1)
	third = f.nth(t, 2, 2) // 5 is of the dead one's key: it stays behind
	if got := third.values(); got[1] != "6" {
		t.Fatalf("after the suspects came %v", got)
	}
	third.ack(1, 2)
	r.settled(5 * time.Second)
	w.halt(t)
	states := queryRow[string](r, `select string_agg(payload || ' ' || state, ', ' order by seq) from outbox.parked`)
	if states != "3 dead, 5 behind" {
		t.Errorf("parked: %s", states)
	}
	if reason := queryRow[string](r, "select reason from outbox.parked where state = 'dead'"); reason != "too_large: too large" {
		t.Errorf("the reason is %q", reason)
	}
}

func TestSession_MissingTopicHoldsItsEventsAndNothingElse(t *testing.T) {
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	f := &manuals{auto: true}
	w := r.start(f.onto(r.options()))
	r.exec(`insert into outbox.events (topic, key, payload) values ('t', 'a', '1'), ('missing', 'a', '2'), ('t', 'a', '3'), ('__x', 'a', '4')`)
	r.settled(10 * time.Second)
	w.halt(t)
	if got := f.nth(t, 0, 2).values(); len(got) != 2 || got[0] != "1" || got[1] != "3" {
		t.Errorf("sent %v", got)
	}
	held := queryRow[string](r, `select string_agg(payload || ' ' || state || ' ' || split_part(reason, ':', 1), ', ' order by seq) from outbox.parked`)
	if held != "2 held no_topic, 4 held forbidden" {
		t.Errorf("parked: %s", held)
	}
}

func (m *manual) ackAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; m.answer < len(m.sent); m.answer++ {
		m.sent[m.answer].answered = true
		m.reports.Acked(m.sent[m.answer].tag, 0, int64(m.answer))
	}
}

func TestRelay_StepsDownWhenAnotherTakesTheLease(t *testing.T) {
	r := newRig(t, map[string]int32{"unused": 1})
	r.showOnFailure()
	f := &manuals{}
	r.exec("insert into outbox.events (topic, payload) values ('t', '1')")
	o := f.onto(r.options())
	o.LeaseTTL = 2 * time.Second
	w := r.start(o)
	m := f.nth(t, 0, 1)
	r.exec("update outbox.relays set epoch = epoch + 1, holder = 'thief', expires_at = clock_timestamp() + interval '1 hour'")
	m.ack(0, 1)
	eventually(t, "the relay follows", 10*time.Second, func() bool { return !w.State().Report().Leading })
	if got := r.delivered(); got != 0 {
		t.Errorf("%d events were settled under another's lease", got)
	}
	if log := r.log.String(); !strings.Contains(log, "stepping down") || strings.Contains(log, "lease released") {
		t.Error("the log does not say that it stepped down, or says that it released the lease")
	}
	w.halt(t)
}
