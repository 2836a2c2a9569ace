package franz

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/internal/mutant/mutanttest"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

func openTransactional(t *testing.T, cfg publisher.Config, id string) (*Transactions, *counter) {
	t.Helper()
	cfg.TransactionalID, cfg.TransactionTimeout = id, 30*time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := &counter{}
	p, err := OpenTransactional(ctx, cfg, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, c
}

// tell sends a record and waits for its report.
func tell(t *testing.T, p *Transactions, c *counter, topic, key, value string) {
	t.Helper()
	before := c.acked.Load() + c.failed.Load()
	r := publisher.Record{Topic: topic, Partition: publisher.AnyPartition, Key: []byte(key), Value: []byte(value)}
	if err := p.Send(t.Context(), &r, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "the record has its report", func() bool { return c.acked.Load()+c.failed.Load() > before })
}

func lastValue(t *testing.T, cfg publisher.Config, topic, key string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := Last(ctx, cfg, topic, []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		return ""
	}
	return string(r.Value)
}

func TestTransactions_OnAFakeBroker(t *testing.T) {
	transactions(t, contract.StartFake(t).Site().Brokers)
}
func TestTransactions_OnApacheKafka(t *testing.T) { transactions(t, kafka.ForTest(t).Brokers()) }

func transactions(t *testing.T, brokers []string) {
	topic := fmt.Sprintf("transactions-%d", time.Now().UnixNano())
	createTopic(t, brokers, topic)
	cfg := contract.Config(t, brokers)
	until(t, "every part of the cluster knows the topic", func() bool {
		_, err := Last(t.Context(), cfg, topic, nil)
		return err == nil
	})
	id := topic
	first, acks := openTransactional(t, cfg, id)
	for n := range 3 {
		if err := first.Begin(); err != nil {
			t.Fatal(err)
		}
		tell(t, first, acks, topic, "name", fmt.Sprint(n))
		if clean, err := first.Commit(t.Context()); err != nil || !clean {
			t.Fatalf("commit %d: clean %v, %v", n, clean, err)
		}
		if last := lastValue(t, cfg, topic, "name"); last != fmt.Sprint(n) {
			t.Fatalf("after commit %d the last record is %q", n, last)
		}
	}
	if last := lastValue(t, cfg, topic, "another name"); last != "" {
		t.Errorf("another key has the record %q", last)
	}
	if err := first.Begin(); err != nil {
		t.Fatal(err)
	}
	tell(t, first, acks, topic, "name", "open when the successor came")
	second, secondAcks := openTransactional(t, cfg, id)
	if last := lastValue(t, cfg, topic, "name"); last != "2" {
		t.Errorf("after the take-over the last record is %q", last)
	}
	if _, err := first.Commit(t.Context()); err == nil || !publisher.Fatal(first.Err()) {
		t.Errorf("a fenced producer committed: %v; its end: %v", err, first.Err())
	}
	if err := second.Begin(); err != nil {
		t.Fatal(err)
	}
	tell(t, second, secondAcks, topic, "name", "aborted")
	if err := second.Abort(t.Context()); err != nil {
		t.Errorf("abort: %v", err)
	}
	if err := second.Begin(); !publisher.Fatal(err) {
		t.Errorf("begin after an abort: %v", err)
	}
	if last := lastValue(t, cfg, topic, "name"); last != "2" {
		t.Errorf("after the abort the last record is %q", last)
	}
}

// One record is acked, the other refused. franz-go itself would commit the first and say ok.
func TestTransactions_NoCommitWhenARecordFailed(t *testing.T) {
	fake := contract.StartFake(t)
	brokers := fake.Site().Brokers
	createTopic(t, brokers, "t")
	cfg := contract.Config(t, brokers)
	p, c := openTransactional(t, cfg, "id")
	if err := p.Begin(); err != nil {
		t.Fatal(err)
	}
	tell(t, p, c, "t", "k", "acked")
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord, Count: 1})
	tell(t, p, c, "t", "k", "refused")
	if c.failed.Load() != 1 {
		t.Fatalf("%d records failed, want 1: this test proves nothing", c.failed.Load())
	}
	if _, err := p.Commit(t.Context()); err == nil {
		t.Error("a transaction was committed of which a record failed")
	}
	p.Close()
	openTransactional(t, cfg, "id") // ends what is open
	if last := lastValue(t, cfg, "t", "k"); last != "" {
		t.Errorf("a part of the transaction is visible: %q", last)
	}
}

// A broker that was killed amid a commit may say that it happened though it has not: whoever had to wait has to look.
func TestTransactions_ASlowCommitIsNotClean(t *testing.T) {
	fake := contract.StartFake(t)
	createTopic(t, fake.ListenAddrs(), "t")
	p, c := openTransactional(t, contract.Config(t, fake.ListenAddrs()), "id")
	for _, slow := range []bool{false, true} {
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		tell(t, p, c, "t", "k", "v")
		if slow {
			fake.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
				time.Sleep(slowCommit + 100*time.Millisecond)
				return nil, nil, false
			})
		}
		if clean, err := p.Commit(t.Context()); err != nil || clean == slow {
			t.Errorf("slow %t: clean %t, %v", slow, clean, err)
		}
	}
}

func TestTransactions_NoCommitBeforeAllAcks(t *testing.T) {
	fake := contract.StartFake(t)
	brokers := fake.Site().Brokers
	createTopic(t, brokers, "t")
	p, _ := openTransactional(t, contract.Config(t, brokers), "id")
	if err := p.Begin(); err != nil {
		t.Fatal(err)
	}
	slowly(fake, 300*time.Millisecond)
	if err := p.Send(t.Context(), &publisher.Record{Topic: "t", Partition: 0}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Commit(t.Context()); !errors.Is(err, errUndecided) {
		t.Errorf("commit with a record on its way: %v", err)
	}
}

// A cluster that was not raised has the protocol in which a late commit ends the next transaction.
func TestOpenTransactional_RefusesAnOldTransactionVersion(t *testing.T) {
	fake := contract.StartFake(t)
	fake.ControlKey(int16(kmsg.ApiVersions), func(request kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		if request.GetVersion() < 3 || request.(*kmsg.ApiVersionsRequest).ClientSoftwareName != "relay" {
			return nil, nil, false
		}
		response := request.ResponseKind().(*kmsg.ApiVersionsResponse)
		feature := kmsg.NewApiVersionsResponseFinalizedFeature()
		feature.Name, feature.MaxVersionLevel = "transaction.version", 1
		response.FinalizedFeatures = append(response.FinalizedFeatures, feature)
		return response, nil, true
	})
	cfg := contract.Config(t, fake.Site().Brokers)
	cfg.TransactionalID, cfg.TransactionTimeout = "id", time.Minute
	p, err := OpenTransactional(t.Context(), cfg, &counter{})
	if p != nil {
		p.Close()
	}
	if publisher.Class(err) != publisher.ClassConfiguration {
		t.Errorf("%v", err)
	}
	if err := MayTransact(t.Context(), cfg, "id-check"); publisher.Class(err) != publisher.ClassConfiguration {
		t.Errorf("relay check would say: %v", err)
	}
}

// Another's open transaction lies before the record that is looked for: it cannot be known yet what is the last.
func TestLast_WaitsForAnothersTransaction(t *testing.T) {
	brokers := contract.StartFake(t).Site().Brokers
	createTopic(t, brokers, "t")
	cfg := contract.Config(t, brokers)
	slow, slowAcks := openTransactional(t, cfg, "slow")
	quick, quickAcks := openTransactional(t, cfg, "quick")
	for p, c := range map[*Transactions]*counter{slow: slowAcks} {
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		tell(t, p, c, "t", "slow", "1")
	}
	if err := quick.Begin(); err != nil {
		t.Fatal(err)
	}
	tell(t, quick, quickAcks, "t", "quick", "1")
	if _, err := quick.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if r, err := Last(ctx, cfg, "t", []byte("quick")); err == nil {
		t.Fatalf("found %v although the partition could not be read to its end", r)
	}
	if _, err := slow.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if last := lastValue(t, cfg, "t", "quick"); last != "1" {
		t.Errorf("the last record is %q", last)
	}
}

func TestMutants_AreCaught(t *testing.T) {
	mutanttest.Caught(t, map[string]string{
		"gate-open-after-trust":         "TestGate_AFrozenProcessWritesNothingAfterItsSuccessor",
		"gate-open-after-failure":       "TestProducer_NothingPassesARefusedRecord",
		"franz-ack-without-offset":      "TestContract_OnBrokersThatMisbehave/TrustsNoSuccessWithoutAnOffset",
		"franz-commit-of-the-rest":      "TestTransactions_NoCommitBeforeAllAcks",
		"franz-any-transaction-version": "TestOpenTransactional_RefusesAnOldTransactionVersion",
		"franz-progress-not-to-the-end": "TestLast_WaitsForAnothersTransaction",
	})
}

var _ kgo.Logger = (*lines)(nil)
