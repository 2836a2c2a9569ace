package franz

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/internal/mutant/mutanttest"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/contract"
)

func TestTransactions_NoCommitBeforeAllAcks(t *testing.T) {
	fake := contract.StartFake(t)
	brokers := fake.Site().Brokers
	createTopic(t, brokers, "t")
	cfg := contract.Config(t, brokers)
	cfg.TransactionalID, cfg.TransactionTimeout = "id", time.Minute
	p, err := OpenTransactional(t.Context(), cfg, &counter{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
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

// The only record of a transaction is refused in a way after which franz-go would go on. It has nothing to commit then,
// asks nobody, and says ok.
func TestTransactions_NoCommitOfNothingBesideARefusedRecord(t *testing.T) {
	for _, refusal := range []*kerr.Error{kerr.TransactionAbortable, kerr.UnknownProducerID, kerr.InvalidRecord} {
		t.Run(refusal.Message, func(t *testing.T) {
			fake := contract.StartFake(t)
			brokers := fake.Site().Brokers
			createTopic(t, brokers, "t")
			cfg := contract.Config(t, brokers)
			cfg.TransactionalID, cfg.TransactionTimeout = "id", time.Minute
			reports := &counter{}
			p, err := OpenTransactional(t.Context(), cfg, reports)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if err := p.Begin(); err != nil {
				t.Fatal(err)
			}
			refused := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: refusal, Count: -1})
			if err := p.Send(t.Context(), &publisher.Record{Topic: "t", Partition: 0}, nil); err != nil {
				t.Fatal(err)
			}
			until(t, "the record is reported", func() bool { return p.InFlight() == 0 })
			if refused.Hits() == 0 || reports.failed.Load() != 1 {
				t.Fatalf("%d requests refused, %d records failed: this proves nothing", refused.Hits(), reports.failed.Load())
			}
			if clean, err := p.Commit(t.Context()); err == nil {
				t.Errorf("a transaction whose only record was refused is committed, clean %v", clean)
			}
		})
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

func TestMutants_AreCaught(t *testing.T) {
	mutanttest.Caught(t, map[string]string{
		"gate-open-after-trust":         "TestGate_AFrozenProcessWritesNothingAfterItsSuccessor",
		"gate-open-after-failure":       "TestProducer_NothingPassesARefusedRecord",
		"franz-ack-without-offset":      "TestContract_OnBrokersThatMisbehave/TrustsNoSuccessWithoutAnOffset",
		"franz-commit-of-the-rest":      "TestTransactions_NoCommitBeforeAllAcks",
		"franz-any-transaction-version": "TestOpenTransactional_RefusesAnOldTransactionVersion",
		"franz-progress-not-to-the-end": "TestTransactions_OnAFakeBroker/LastWaitsForAnothersTransaction",
	})
}

var _ kgo.Logger = (*lines)(nil)
