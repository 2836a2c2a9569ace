package franz

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

// counter is a Reports that only counts.
type counter struct{ acked, failed atomic.Int64 }

func (c *counter) Acked(any, int32, int64) { c.acked.Add(1) }
func (c *counter) Failed(any, error)       { c.failed.Add(1) }

func openForTest(t testing.TB, cfg publisher.Config) (*Producer, *counter) {
	t.Helper()
	c := &counter{}
	p, err := Open(cfg, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, c
}

func kadmin(t testing.TB, brokers []string) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

func createTopic(t testing.TB, brokers []string, topic string) {
	t.Helper()
	if _, err := kadmin(t, brokers).CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
}

func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// values of a topic's only partition, so far.
func values(t testing.TB, brokers []string, topic string) (all []string) {
	t.Helper()
	ends, err := kadmin(t, brokers).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for int64(len(all)) < end.Offset {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { all = append(all, string(r.Value)) })
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records were read", len(all), end.Offset)
		}
	}
	return all
}

// slowly lets the broker take its time for each produce request.
func slowly(fake *contract.Fake, pause time.Duration) {
	fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		fake.SleepControl(func() { <-time.After(pause) })
		return nil, nil, false
	})
}

const (
	frozenBrokers = "RELAY_TEST_FROZEN_BROKERS"
	frozenTrust   = 1500 * time.Millisecond
	marker        = "the successor's"
)

// TestFrozenChild is not a test of its own: it is the process that the next one freezes.
func TestFrozenChild(t *testing.T) {
	brokers := os.Getenv(frozenBrokers)
	if brokers == "" {
		t.Skip("runs in a process of its own")
	}
	p, c := openForTest(t, contract.Config(t, []string{brokers}))
	send := func(ctx context.Context, n int) error {
		return p.Send(ctx, &publisher.Record{Topic: "t", Partition: 0, Value: fmt.Append(nil, n)}, nil)
	}
	if err := send(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	until(t, "the first is acked", func() bool { return c.acked.Load() == 1 })
	p.Trust(time.Now().Add(frozenTrust))
	fmt.Println("trusted")
	ended, end := context.WithCancel(t.Context())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end()
	}()
	pause := time.NewTicker(time.Millisecond / 4)
	defer pause.Stop()
	for n := 1; n < 15_000 && ended.Err() == nil; n++ {
		if send(ended, n) != nil {
			break
		}
		<-pause.C
	}
	<-ended.Done()
}

// A process is frozen in mid-stream, thawed when its trust is over and a successor has written, and then left to do what
// it can. The broker answers slowly, so that it holds a lot.
func TestGate_AFrozenProcessWritesNothingAfterItsSuccessor(t *testing.T) {
	fake := contract.StartFake(t)
	site := fake.Site()
	createTopic(t, site.Brokers, "t")
	slowly(fake, 20*time.Millisecond)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFrozenChild$", "-test.timeout=60s")
	child.Env = append(os.Environ(), frozenBrokers+"="+site.Brokers[0])
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for line := ""; line != "trusted\n"; {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("the process that is to be frozen: %v", err)
		}
	}
	trusted := time.Now()
	stage := kadmin(t, site.Brokers)
	stored := func() int64 {
		ends, err := stage.ListEndOffsets(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		end, _ := ends.Lookup("t", 0)
		return end.Offset
	}
	until(t, "it is in mid-stream", func() bool { return stored() > 100 })
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// What lies in sockets arrives now; a successor comes when the trust is over.
	until(t, "the trust is over", func() bool { return time.Since(trusted) > frozenTrust })
	successor, c := openForTest(t, contract.Config(t, site.Brokers))
	if err := successor.Send(t.Context(), &publisher.Record{Topic: "t", Partition: 0, Value: []byte(marker)}, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "the successor's record is stored", func() bool { return c.acked.Load() == 1 })
	if err := child.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	thawed := time.Now()
	until(t, "it had its time", func() bool { return time.Since(thawed) > 700*time.Millisecond })
	_ = in.Close()
	_, _ = io.Copy(io.Discard, lines)
	if err := child.Wait(); err != nil {
		t.Errorf("the frozen process: %v", err)
	}
	all := values(t, site.Brokers, "t")
	for i, v := range all {
		if v == marker {
			if late := len(all) - i - 1; late > 0 {
				t.Errorf("%d records were written after the successor's, the first is %s", late, all[i+1])
			}
			t.Logf("%d records before the successor's", i)
			return
		}
	}
	t.Error("the successor's record is not there: this test proves nothing")
}

func TestGate_OpensAgainWithARenewal(t *testing.T) {
	site := contract.StartFake(t).Site()
	createTopic(t, site.Brokers, "t")
	p, c := openForTest(t, contract.Config(t, site.Brokers))
	send := func() {
		t.Helper()
		if err := p.Send(t.Context(), &publisher.Record{Topic: "t", Partition: 0, Value: []byte("v")}, nil); err != nil {
			t.Fatal(err)
		}
	}
	send()
	until(t, "the first is acked", func() bool { return c.acked.Load() == 1 })
	p.Trust(time.Now())
	send()
	for range 20 { // a request would take a millisecond
		if values := values(t, site.Brokers, "t"); len(values) > 1 {
			t.Fatal("a record was written when the trust was over")
		}
	}
	p.Trust(time.Now().Add(time.Minute))
	until(t, "the second is acked", func() bool { return c.acked.Load() == 2 })
}

// A write that is under way when the gate shuts ends there: the broker never gets the request's end.
func TestGuarded_StopsInTheMiddle(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	g := newGate()
	c := guarded{near, g}
	read := make(chan int)
	go func() {
		n, _ := io.ReadFull(far, make([]byte, stride))
		g.shut.Store(true)
		rest, _ := io.Copy(io.Discard, far)
		read <- n + int(rest)
	}()
	n, err := c.Write(make([]byte, 5*stride))
	_ = near.Close()
	if !errors.Is(err, errShut) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	if got := <-read; got != n || got > 2*stride {
		t.Errorf("%d bytes were said to be written, %d arrived, %d is the most", n, got, 2*stride)
	}
}

// The broker refuses one record of a partition while others are sent without a pause. None that was sent later may be
// stored. The broker takes everything after its one refusal: only the producer can stop it.
func TestProducer_NothingPassesARefusedRecord(t *testing.T) {
	for round := range 5 {
		fake := contract.StartFake(t)
		site := fake.Site()
		createTopic(t, site.Brokers, "t")
		cfg := contract.Config(t, site.Brokers)
		cfg.Properties = map[string]string{"linger.ms": "0"}
		p, c := openForTest(t, cfg)
		n := 0
		send := func() error {
			n++
			return p.Send(t.Context(), &publisher.Record{Topic: "t", Partition: 0, Value: fmt.Append(nil, n)}, nil)
		}
		for range 20 + round {
			if err := send(); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "the first are acked", func() bool { return int(c.acked.Load()) == n })
		before := n
		refused := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord, Count: 1})
		for send() == nil {
			if n > 2_000_000 {
				t.Fatal("the producer lives on after a refused record")
			}
		}
		if refused.Hits() != 1 {
			t.Fatalf("the broker refused %d requests, want 1", refused.Hits())
		}
		if err := p.Err(); publisher.Class(err) != publisher.ClassInvalidRecord || !publisher.Fatal(err) {
			t.Errorf("why it is dead: %v", err)
		}
		p.Close()
		if got := len(values(t, site.Brokers, "t")); got != before {
			t.Errorf("round %d: %d records are stored, want the %d before the refused one", round, got, before)
		}
	}
}

// The text is franz-go's; without it the window between the failure and its report is open.
func TestLines_HearOfTheFailedBatch(t *testing.T) {
	fake := contract.StartFake(t)
	site := fake.Site()
	createTopic(t, site.Brokers, "t")
	heard := make(chan error, 1)
	client, err := newClient(contract.Config(t, site.Brokers), newGate(), func(err error) { heard <- err }, noMore)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord, Count: 1})
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "t"}).FirstErr(); !errors.Is(err, kerr.InvalidRecord) {
		t.Fatalf("the refused record: %v", err)
	}
	select {
	case err := <-heard:
		if !errors.Is(err, kerr.InvalidRecord) {
			t.Errorf("heard %v", err)
		}
	default:
		t.Errorf("franz-go no longer logs %q: find what it says now when it fails a batch", batchFailed)
	}
}

func TestErrors_HaveOurClasses(t *testing.T) {
	for _, c := range []struct {
		err   error
		class string
	}{
		{kgo.ErrClientClosed, publisher.ClassCut}, {errShut, publisher.ClassCut}, {kgo.ErrAborting, publisher.ClassCut},
		{kgo.ErrMaxBuffered, publisher.ClassQueueFull}, {kgo.ErrRecordTimeout, publisher.ClassTimedOut},
		{fmt.Errorf("x: %w", kerr.MessageTooLarge), publisher.ClassTooLarge}, {kerr.InvalidRecord, publisher.ClassInvalidRecord},
		{kerr.InvalidTimestamp, publisher.ClassInvalidTimestamp}, {kerr.UnknownTopicOrPartition, publisher.ClassNoTopic},
		{kerr.UnknownTopicID, publisher.ClassNoTopic}, {kerr.TopicAuthorizationFailed, publisher.ClassForbidden},
		{errors.New("invalid record partitioning choice of 7 from 3 available"), publisher.ClassNoTopic},
		{kerr.InvalidProducerEpoch, publisher.ClassFenced}, {kerr.ProducerFenced, publisher.ClassFenced},
		{kerr.InvalidTxnState, publisher.ClassTransaction}, {kerr.OperationNotAttempted, publisher.ClassTransaction},
		{kerr.SaslAuthenticationFailed, publisher.ClassAuthentication}, {kerr.TransactionalIDAuthorizationFailed, publisher.ClassUnauthorized},
		{context.DeadlineExceeded, publisher.ClassTimedOut}, {io.EOF, publisher.ClassTransport}, {errors.New("what"), publisher.ClassUnknown},
	} {
		got := asError(c.err)
		if got.Class() != c.class {
			t.Errorf("%v: class %s, want %s", c.err, got.Class(), c.class)
		}
		if maybe := c.class == publisher.ClassCut || c.class == publisher.ClassUnknown || c.class == publisher.ClassTimedOut; maybe && !publisher.MaybeWritten(got) {
			t.Errorf("%v: is said to be surely unwritten", c.err)
		}
		if strings.Contains(got.Error(), "x: ") {
			t.Errorf("%v: repeats what is around the cause", got)
		}
	}
}
