package lanes

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outboxrelay/relay/publisher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// road is lanes to a topic "orders" whose number of partitions the test decides.
type road struct {
	*Lanes
	t          *testing.T
	partitions atomic.Int32
	flushes    int
}

func newRoad(t *testing.T, partitions int32) *road {
	r := &road{t: t}
	r.partitions.Store(partitions)
	topics := WatchTopics(func(_ context.Context, names []string) (map[string]Described, error) {
		all := map[string]Described{}
		for _, name := range names {
			all[name] = Described{Topic: publisher.Topic{Name: name, Partitions: r.partitions.Load()}}
		}
		return all, nil
	}, func(string, int32) bool { return true })
	t.Cleanup(topics.Stop)
	r.Lanes = New(Options{Topics: topics, Dead: make(chan struct{}), Err: func() error { return nil },
		Flush: func() { r.flushes++ }, Timeout: time.Minute, Log: slog.New(slog.DiscardHandler)})
	return r
}

// enter sends a record to a partition unless it has to wait.
func (r *road) enter(partition int32) (*Lane, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 50*time.Millisecond)
	defer cancel()
	l, err := r.Enter(ctx, &publisher.Record{Topic: "orders", Partition: partition, Value: []byte("v")})
	if err == nil {
		r.Sent(l)
	}
	return l, err
}

func (r *road) mustEnter(partition int32) *Lane {
	r.t.Helper()
	l, err := r.enter(partition)
	if err != nil {
		r.t.Fatalf("partition %d: %v", partition, err)
	}
	return l
}

func (r *road) ack(l *Lane) {
	r.Reported(l, true)
	r.Left(l)
}

func TestEnter_GoesOverToMorePartitionsOnlyWhenNothingIsInFlight(t *testing.T) {
	r := newRoad(t, 2)
	r.ack(r.mustEnter(0))
	flying := r.mustEnter(0)
	r.partitions.Store(5)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if about, err := r.Topics.Now(t.Context(), "orders", r.Dead); err == nil && about.Partitions == 5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the watcher has not seen the new partitions")
		}
	}
	if _, err := r.enter(4); err == nil {
		t.Fatal("a record went to a new partition while another was in flight")
	}
	r.ack(flying)
	r.mustEnter(4)
}

func TestEnter_StartsSlowlyAndAgainAfterARest(t *testing.T) {
	r := newRoad(t, 1)
	l := r.mustEnter(0)
	if _, err := r.enter(0); err == nil {
		t.Fatal("a second record went before the first one's ack")
	}
	r.ack(l)
	r.mustEnter(0)
	r.ack(r.mustEnter(0))
	r.ack(l)
	l.used -= forgets + time.Second
	r.mustEnter(0)
	if _, err := r.enter(0); err == nil {
		t.Error("a second record went before the first one's ack, after a rest of more than ten minutes")
	}
}

func TestEnter_EndsWithTheProducer(t *testing.T) {
	r := newRoad(t, 1)
	dead := make(chan struct{})
	why := publisher.NewError(publisher.ClassClosed, "closed")
	r.Dead, r.Err = dead, func() error { return why }
	r.mustEnter(0)
	ended := make(chan error)
	go func() {
		_, err := r.Enter(context.Background(), &publisher.Record{Topic: "orders", Partition: 0})
		ended <- err
	}()
	close(dead)
	if err := <-ended; !publisher.Fatal(err) {
		t.Errorf("a record that waited while the producer ended: %v", err)
	}
}

func TestSending_SpreadsInRuns(t *testing.T) {
	s := &sending{answer: &answer{topic: publisher.Topic{Partitions: 3}}, current: 2}
	var got []int32
	for range 3*run + 1 {
		got = append(got, s.pick(nil))
	}
	for i, p := range got {
		if want := int32(i / run % 3); p != want {
			t.Fatalf("record %d without a key goes to %d, want %d", i, p, want)
		}
	}
	if s.pick([]byte{}) != publisher.Partition([]byte{}, 3) {
		t.Error("an empty key was spread")
	}
}

func TestAges_KnowTheOldest(t *testing.T) {
	var a ages
	const step = time.Second
	for n := range int64(100) { // a record each 100 ms
		a.note(n, time.Duration(n)*100*time.Millisecond, step)
	}
	for _, done := range []int64{0, 1, 9, 10, 55, 99} {
		went := time.Duration(done) * 100 * time.Millisecond
		if at := a.oldest(done); at > went || went-at >= step {
			t.Errorf("record %d went at %v, said to be %v", done, went, at)
		}
	}
	// After a rest the mark of before must not stand for what comes.
	a.note(100, time.Hour, step)
	if at := a.oldest(100); at != time.Hour {
		t.Errorf("after a rest: %v", at)
	}
}

func TestEnter_HasTheClientHurryBeforeItWaits(t *testing.T) {
	r := newRoad(t, 1)
	first := r.mustEnter(0)
	if _, err := r.enter(0); err == nil || r.flushes != 1 {
		t.Errorf("behind a record without an ack: %v, %d flushes", err, r.flushes)
	}
	r.ack(first)
	r.mustEnter(0)
	r.mustEnter(0)
	if r.flushes != 1 {
		t.Errorf("%d flushes, though nothing had to wait", r.flushes)
	}
}

func TestWindowOf_BoundsWhatIsNotKnown(t *testing.T) {
	for _, c := range []struct{ limit, clients, want int }{
		{publisher.NoLimit, 0, usualLimit}, {publisher.NoLimit, 100_000_000, usualLimit}, {publisher.NoLimit, 500_000, 0},
		{10_000, 0, 0}, {10_000, 500_000, 10_000}, {10_000_000, 500_000, 0},
	} {
		p := &Lanes{Options: Options{Window: c.clients}}
		if got := p.windowOf(publisher.Topic{MaxMessageBytes: c.limit}); got != c.want {
			t.Errorf("limit %d, batches of the client %d: %d, want %d", c.limit, c.clients, got, c.want)
		}
	}
}
