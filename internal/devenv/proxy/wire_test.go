package proxy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
)

// stage is a real broker behind a Node, and a topic on it.
type stage struct {
	*Node
	cluster *kafka.Cluster
	topic   string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real Apache Kafka, which -short leaves out")
	}
	fleet := NewFleet()
	t.Cleanup(fleet.Close)
	cluster, err := kafka.Start(t.Context(), kafka.Options{Advertise: fleet.Advertise})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	return &stage{Node: fleet.Node(0), cluster: cluster}
}

// on is the stage with a topic of its own: what another test has left on its way is not counted here.
func (s *stage) on(t *testing.T, topic string) *stage {
	t.Helper()
	own := &stage{Node: s.Node, cluster: s.cluster, topic: topic}
	direct := own.client(t, kgo.SeedBrokers(s.cluster.Direct()...))
	created, err := kadm.NewClient(direct).CreateTopic(t.Context(), 1, 1, nil, topic)
	if err := errors.Join(err, created.Err); err != nil {
		t.Fatal(err)
	}
	return own
}

func (s *stage) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(s.cluster.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DefaultProduceTopic(s.topic), kgo.ProducerLinger(0),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func (s *stage) stored(t *testing.T) int64 {
	t.Helper()
	ends, err := kadm.NewClient(s.client(t, kgo.SeedBrokers(s.cluster.Direct()...))).ListEndOffsets(within(t, time.Minute), s.topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(s.topic, 0)
	return end.Offset
}

func send(t *testing.T, c *kgo.Client, value string) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	c.Produce(within(t, time.Minute), kgo.StringRecord(value), func(_ *kgo.Record, err error) { done <- err })
	return done
}

func await(t *testing.T, done <-chan error) {
	t.Helper()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func caught(t *testing.T, c *Catch) Frame {
	t.Helper()
	frame, err := c.Wait(within(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// One broker serves all of these: it takes five seconds to start.
func TestWire(t *testing.T) {
	s := newStage(t)
	for name, test := range map[string]func(*testing.T, *stage){
		"big frames pass byte for byte":                   bigFramesPass,
		"a held request waits until it is released":       heldRequestWaits,
		"a held request outlives its client":              heldRequestOutlivesItsClient,
		"a swallowed answer is carried out all the same":  swallowedAnswer,
		"a cut answer is carried out, the client retries": cutAnswer,
		"a delayed answer comes later":                    delayedAnswer,
		"one of a kind, the second, if it has a mark":     secondWithAMark,
		"a late EndTxn is sent once more":                 lateEndTxn,
		"cut below, then healed":                          cutBelow,
	} {
		t.Run(name, func(t *testing.T) { test(t, s.on(t, strings.ReplaceAll(strings.ReplaceAll(name, ",", ""), " ", "-"))) })
	}
}

func bigFramesPass(t *testing.T, s *stage) {
	value := strings.Repeat("0123456789", 70_000)
	before := s.stored(t)
	watch := s.Wire.On(Rule{Side: Request, API: Produce, Do: Copy, Max: -1}) // the way of frames that a rule looks at
	await(t, send(t, s.client(t), value))
	watch.Release()
	await(t, send(t, s.client(t), value)) // and the other way
	if watch.Caught() != 1 || len(caught(t, watch).Bytes) < 100 {
		t.Errorf("%d requests were looked at, want one", watch.Caught())
	}
	reader := s.client(t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.topic: {0: kgo.NewOffset().At(before)}}), kgo.DisableFetchSessions())
	records := 0
	for ctx := within(t, time.Minute); records < 2 && ctx.Err() == nil; {
		reader.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			records++
			if string(r.Value) != value {
				t.Errorf("a value of %d bytes came back with %d or other ones", len(value), len(r.Value))
			}
		})
	}
	if records != 2 {
		t.Errorf("%d records, want 2", records)
	}
}

func heldRequestWaits(t *testing.T, s *stage) {
	before := s.stored(t)
	hold := s.Wire.On(Rule{Side: Request, API: Produce, Do: Hold})
	done := send(t, s.client(t), "held")
	if f := caught(t, hold); f.API != Produce || f.Version < 3 || f.Correlation == 0 && len(f.Bytes) == 0 {
		t.Errorf("caught %+v", f)
	}
	select {
	case err := <-done:
		t.Fatalf("a held request was answered: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if n := s.stored(t); n != before {
		t.Errorf("%d records are stored, were %d", n, before)
	}
	hold.Release()
	hold.Release()
	await(t, done)
	if n := s.stored(t); n != before+1 {
		t.Errorf("%d records are stored, want %d", n, before+1)
	}
}

func heldRequestOutlivesItsClient(t *testing.T, s *stage) {
	before := s.stored(t)
	hold := s.Wire.On(Rule{Side: Request, API: Produce, Do: Hold})
	dead := s.client(t)
	done := send(t, dead, "from the grave")
	caught(t, hold)
	dead.Close()
	if err := <-done; err == nil {
		t.Fatal("the record of a closed client was acked")
	}
	hold.Release()
	for deadline := time.Now().Add(time.Minute); s.stored(t) != before+1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what was held did not reach the broker after its client was gone")
		}
	}
}

func swallowedAnswer(t *testing.T, s *stage) {
	c := s.client(t, kgo.RequestTimeoutOverhead(time.Second), kgo.ProduceRequestTimeout(time.Second))
	await(t, send(t, c, "known")) // the broker knows the client's numbers from now on
	before := s.stored(t)
	swallow := s.Wire.On(Rule{Side: Answer, API: Produce, Do: Swallow})
	watch := s.Wire.On(Rule{Side: Request, API: Produce, Do: Copy, Max: -1})
	done := send(t, c, "unheard")
	if f := caught(t, swallow); f.API != Produce {
		t.Errorf("the answer is to API %d", f.API)
	}
	if n := s.stored(t); n != before+1 {
		t.Errorf("%d records are stored while nobody knows, want %d", n, before+1)
	}
	await(t, done) // the client asks again, and the broker knows the number
	watch.Release()
	if n := watch.Caught(); n < 2 {
		t.Errorf("%d requests were sent: the answer came through", n)
	}
	if n := s.stored(t); n != before+1 {
		t.Errorf("%d records are stored, want %d", n, before+1)
	}
}

func cutAnswer(t *testing.T, s *stage) {
	c := s.client(t)
	await(t, send(t, c, "known")) // the broker knows the client's numbers from now on
	before := s.stored(t)
	cut := s.Wire.On(Rule{Side: Answer, API: Produce, Do: Cut})
	watch := s.Wire.On(Rule{Side: Request, API: Produce, Do: Copy, Max: -1})
	await(t, send(t, c, "cut"))
	watch.Release()
	if cut.Caught() != 1 || watch.Caught() != 2 || s.stored(t) != before+1 {
		t.Errorf("%d answers were cut, %d requests sent, %d records stored; want 1, 2, 1",
			cut.Caught(), watch.Caught(), s.stored(t)-before)
	}
}

func delayedAnswer(t *testing.T, s *stage) {
	c := s.client(t)
	await(t, send(t, c, "warm"))
	s.Wire.On(Rule{Side: Answer, API: Produce, Do: Delay, For: 300 * time.Millisecond})
	began := time.Now()
	await(t, send(t, c, "late"))
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("acked after %v, want 300 ms or more", took)
	}
}

func secondWithAMark(t *testing.T, s *stage) {
	before := s.stored(t)
	cut := s.Wire.On(Rule{Side: Request, API: Produce, Do: Cut, Skip: 1, If: func(f Frame) bool {
		return strings.Contains(string(f.Bytes), "marked")
	}})
	c := s.client(t)
	for i, want := range []int{0, 0, 1} {
		await(t, send(t, c, []string{"marked one", "plain", "marked two"}[i]))
		if cut.Caught() != want {
			t.Errorf("after record %d: %d were cut, want %d", i+1, cut.Caught(), want)
		}
	}
	if n := s.stored(t) - before; n != 3 {
		t.Errorf("%d records are stored, want 3", n)
	}
}

// A client with the old protocol takes a new producer's transaction for its own: what the relay has to live with.
func lateEndTxn(t *testing.T, s *stage) {
	c := s.client(t, kgo.TransactionalID("late"), kgo.TransactionTimeout(10*time.Second))
	keep := s.Wire.On(Rule{Side: Request, API: EndTxn, Do: Copy})
	if err := c.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	await(t, send(t, c, "in a transaction"))
	if err := c.EndTransaction(within(t, time.Minute), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	frame := caught(t, keep)
	answer, err := keep.Replay(within(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	response := kmsg.NewEndTxnResponse()
	response.Version = frame.Version
	body := answer[4:]
	if response.IsFlexible() {
		body = body[1:] // no tagged fields in the header
	}
	if err := response.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	// Told twice, a broker says again that it has committed; what matters is that it heard and understood it.
	t.Logf("EndTxn version %d, sent once more: %v", frame.Version, kerr.ErrorForCode(response.ErrorCode))
}

func cutBelow(t *testing.T, s *stage) {
	c := s.client(t)
	await(t, send(t, c, "before"))
	s.Net.Cut()
	done := send(t, c, "meanwhile")
	select {
	case err := <-done:
		t.Fatalf("acked through a cut: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if err := s.Net.Heal(); err != nil {
		t.Fatal(err)
	}
	await(t, done)
}

func TestWire_CloseLetsGoOfWhatIsHeld(t *testing.T) {
	w, err := StartWire(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	hold := w.On(Rule{Side: Request, API: EndTxn, Do: Hold})
	conn := dial(t, w.Address())
	if _, err := conn.Write([]byte{0, 0, 0, 8, 0, byte(EndTxn), 0, 3, 0, 0, 0, 9}); err != nil {
		t.Fatal(err)
	}
	if f := caught(t, hold); f.Version != 3 || f.Correlation != 9 {
		t.Errorf("caught %+v", f)
	}
	w.Close()
	w.Close()
	if got, _, err := ask(t, conn, "x", 10*time.Second); err == nil {
		t.Errorf("a closed proxy answered %q", got)
	}
}

func TestWire_WhatIsNotKafkaEnds(t *testing.T) {
	w, err := StartWire(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	conn := dial(t, w.Address())
	if got, _, err := ask(t, conn, "\x00\x00\x00\x01 nothing of that kind", 10*time.Second); err == nil || got != "" {
		t.Errorf("got %q, %v, want the end", got, err)
	}
	silent, err := StartWire("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if got, _, err := ask(t, dial(t, silent.Address()), "anybody", 10*time.Second); err == nil {
		t.Errorf("nobody answered %q", got)
	}
}
