package franz

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

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
	c := &guarded{Conn: near, gate: g}
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

// A line so slow that a large request takes longer than franz-go allows for one: it arrives nevertheless, as long as it
// goes on, and what a deadline breaks off stays broken off.
func TestGuarded_TakesItsTimeWhileItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := &guarded{Conn: near, gate: newGate()}
		arrived := make(chan int)
		go func() {
			n := 0
			for range 5 {
				time.Sleep(7 * time.Second)
				m, _ := io.ReadFull(far, make([]byte, stride))
				n += m
			}
			arrived <- n
		}()
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if n, err := c.Write(make([]byte, 5*stride)); err != nil {
			near.Close()
			t.Errorf("%d bytes were written: %v", n, err)
		}
		_ = c.SetWriteDeadline(time.Time{})
		if n := <-arrived; n != 5*stride {
			t.Errorf("%d bytes arrived", n)
		}

		began := time.Now()
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write(make([]byte, 5*stride)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("nobody reads, and the write ends with %v", err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("nobody reads, and the write takes %v", took)
		}

		began = time.Now()
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		time.AfterFunc(time.Second, func() { _ = c.SetWriteDeadline(time.Now()) }) // the request's context ends
		if _, err := c.Write(make([]byte, 5*stride)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a write that was broken off ends with %v", err)
		}
		for range 2 {
			if _, err := c.Write(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("and the next one with %v", err)
			}
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("what was broken off after a second takes %v", took)
		}
		near.Close()
	})
}

// The broker refuses one record of a partition while others are sent without a pause. None that was sent later may be
// stored. The broker takes everything after its one refusal: only the producer can stop it. Without the gate one round of
// ten fails.
func TestProducer_NothingPassesARefusedRecord(t *testing.T) {
	nothingPasses(t, kerr.InvalidRecord, publisher.ClassInvalidRecord)
}

// The broker has forgotten records that it has acked. franz-go gives its producer id up by itself, once it is told to.
func TestProducer_NothingPassesAForgottenRecord(t *testing.T) {
	nothingPasses(t, kerr.OutOfOrderSequenceNumber, publisher.ClassOutOfSequence)
}

func nothingPasses(t *testing.T, refusal *kerr.Error, class string) {
	for round := range 25 {
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
		refused := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: refusal, Count: 1})
		for send() == nil {
			if n > 2_000_000 {
				t.Fatal("the producer lives on after a refused record")
			}
		}
		if refused.Hits() != 1 {
			t.Fatalf("the broker refused %d requests, want 1", refused.Hits())
		}
		if err := p.Err(); publisher.Class(err) != class || !publisher.Fatal(err) {
			t.Errorf("why it is dead: %v", err)
		}
		p.Close()
		if got := len(values(t, site.Brokers, "t")); got != before {
			t.Errorf("round %d: %d records are stored, want the %d before the refused one", round, got, before)
		}
	}
}

// The texts are franz-go's; without them the window between a failure and its report is open.
func TestLines_HearOfRecordsThatFail(t *testing.T) {
	for line, faults := range map[string][]kfake.Fault{
		batchFailed:  {{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord, Count: 1}},
		noProducerID: {{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.ClusterAuthorizationFailed, Count: 1}},
		notLoaded: {{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "t", Err: kerr.UnknownTopicOrPartition, Count: -1},
			{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: -1}},
	} {
		t.Run(line, func(t *testing.T) {
			fake := contract.StartFake(t)
			site := fake.Site()
			createTopic(t, site.Brokers, "t")
			heard := make(chan error, 1)
			client, err := newClient(contract.Config(t, site.Brokers), newGate(), func(err error) { heard <- err }, noMore)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if line == notLoaded { // else it waits for the topic
				if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "t"}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			fake.Fault(faults...)
			if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "t"}).FirstErr(); !errors.Is(err, faults[0].Err) {
				t.Fatalf("the refused record: %v", err)
			}
			select {
			case err := <-heard:
				if !errors.Is(err, faults[0].Err) {
					t.Errorf("heard %v", err)
				}
			default:
				t.Errorf("franz-go no longer logs %q: find what it says now when it fails records", line)
			}
		})
	}
}
