package relay

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/outboxrelay/relay/internal/devenv/fake"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/clients"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/exec.(*Cmd).Wait"),
		goleak.IgnoreAnyFunction("github.com/outboxrelay/relay/internal/devenv/process.Start.func1"))
}

// rig is a database, a broker and what is needed to run relays between them.
type rig struct {
	t       testing.TB
	url     string
	brokers []string
	db      *pgx.Conn
	log     *journal
	client  publisher.Client
}

// newRig migrates a fresh database and starts a broker in process with these topics.
func newRig(t testing.TB, topics map[string]int32) *rig {
	return newRigOn(t, fake.ForTest(t, topics).Brokers())
}

func newRigOn(t testing.TB, brokers []string) *rig {
	t.Helper()
	return newRigAt(t, postgres.NewDatabase(t), brokers)
}

func newRigAt(t testing.TB, url string, brokers []string) *rig {
	t.Helper()
	migrate.ForTest(t, url, "outbox")
	r := &rig{t: t, url: url, brokers: brokers, log: &journal{t: t}, client: clients.All()[0]}
	r.db = r.connect()
	return r
}

// withEach runs a test with every Kafka client of this build.
func withEach(t *testing.T, test func(*testing.T, publisher.Client)) {
	t.Helper()
	for _, c := range clients.All() {
		t.Run(c.Name(), func(t *testing.T) { test(t, c) })
	}
}

func (r *rig) connect() *pgx.Conn {
	r.t.Helper()
	c, err := pgx.Connect(r.t.Context(), r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close(context.Background()) })
	// The planner thinks little of an empty ring, and would compile each look at outbox.delivery.
	if _, err := c.Exec(r.t.Context(), "set jit = off"); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	if _, err := r.db.Exec(r.t.Context(), sql, args...); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
}

func queryRow[T any](r *rig, sql string, args ...any) T {
	r.t.Helper()
	var v T
	if err := r.db.QueryRow(r.t.Context(), sql, args...).Scan(&v); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// options are the usual ones, quick enough for tests.
func (r *rig) options() Options {
	o := Options{
		Postgres: func() (string, error) { return r.url, nil },
		Schema:   "outbox", Name: "main", Holder: "test-" + strconv.FormatInt(time.Now().UnixNano(), 36), Wake: "poll",
		LeaseTTL: 15 * time.Second, MaxInFlight: 32 << 20, DrainTimeout: 10 * time.Second,
		PollLeast: time.Millisecond, PollMost: 20 * time.Millisecond,
		Headers: HeaderNames{ID: "id", Type: "type", CreatedAt: "created_at"}, Allow: []string{"*"},
		Rest: func(bool) {},
		Log:  slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return r.onto(o)
}

// onto lets o open producers for the rig's brokers.
func (r *rig) onto(o Options) Options {
	cfg := publisher.Config{Brokers: r.brokers, ClientID: "relay-test", Compression: "none",
		MessageTimeout: MessageTimeout(o.LeaseTTL), Log: o.Log}
	cfg.MaxInFlightRecords, cfg.MaxInFlightBytes = o.ProducerLimits()
	o.Open = func(reports publisher.Reports) (publisher.Producer, error) { return r.client.Open(cfg, reports) }
	o.Ping = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		return r.client.Ping(ctx, cfg)
	}
	return o
}

// running is one relay at work.
type running struct {
	*Relay
	stop, cut context.CancelFunc
	ended     chan struct{}
}

// start runs a relay until the test ends, or halt.
func (r *rig) start(o Options) *running {
	ctx, cut := context.WithCancel(context.Background())
	stop, stopIt := context.WithCancel(context.Background())
	w := &running{Relay: New(o), stop: stopIt, cut: cut, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		if err := w.Run(ctx, stop); err != nil {
			r.t.Errorf("run: %v", err)
		}
	}()
	r.t.Cleanup(func() { w.kill() })
	return w
}

// halt stops cleanly.
func (w *running) halt(t testing.TB) {
	t.Helper()
	w.stop()
	select {
	case <-w.ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the relay did not stop")
	}
}

// kill cuts what the relay is doing, as far as that is possible in one process.
func (w *running) kill() {
	w.stop()
	w.cut()
	<-w.ended
}

// eventually polls a claim.
func eventually(t testing.TB, what string, limit time.Duration, claim func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !claim(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// settled waits until the cursor covers every event.
func (r *rig) settled(limit time.Duration) {
	r.t.Helper()
	eventually(r.t, "every event is settled", limit, func() bool {
		return queryRow[int](r, "select count(*) from outbox.delivery where status = 'pending' or name is null") == 0
	})
}

// read gives all records of a topic so far, in the order of each partition.
func (r *rig) read(topic string) []*kgo.Record {
	r.t.Helper()
	return readTopic(r.t, r.brokers, topic)
}

func readTopic(t testing.TB, brokers []string, topic string) []*kgo.Record {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.DisableFetchSessions(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ends := endOffsets(t, c, topic)
	var records []*kgo.Record
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for left(ends) > 0 {
		fetches := c.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d records of topic %s were not read", left(ends), topic)
		}
		fetches.EachRecord(func(k *kgo.Record) {
			records = append(records, k)
			if k.Offset+1 >= ends[k.Partition] {
				delete(ends, k.Partition)
			}
		})
	}
	return records
}

// endOffsets are the ends of the partitions that hold records.
func endOffsets(t testing.TB, c *kgo.Client, topic string) map[int32]int64 {
	t.Helper()
	listed, err := kadm.NewClient(c).ListEndOffsets(t.Context(), topic)
	if err != nil || listed.Error() != nil {
		t.Fatalf("end offsets of %s: %v %v", topic, err, listed.Error())
	}
	ends := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			ends[o.Partition] = o.Offset
		}
	})
	return ends
}

func left(ends map[int32]int64) (n int64) {
	for _, end := range ends {
		n += end
	}
	return n
}

// journal is the relay's log, for the test's output and for questions.
type journal struct {
	t  testing.TB
	mu sync.Mutex
	b  []byte
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.b = append(j.b, p...)
	return len(p), nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.b)
}

// showOnFailure prints the log when the test has failed.
func (r *rig) showOnFailure() {
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("the relay's log:\n%s", r.log)
		}
	})
}
