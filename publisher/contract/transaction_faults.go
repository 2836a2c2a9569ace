package contract

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/outboxrelay/relay/publisher"
)

// RunTransactionFaults holds a client's transactions to the contract against brokers that misbehave on demand, all in
// this process.
func RunTransactionFaults(t *testing.T, client publisher.Client) {
	for name, test := range map[string]func(*testing.T, publisher.Client){
		"FailsACommitThatIsRefused":             testRefusedCommit,
		"CommitsWhenTheCoordinatorIsBack":       testRetriedCommit,
		"ASlowCommitIsNotClean":                 testSlowCommit,
		"DoesNotCommitBesideAFailedRecord":      testFailedRecord,
		"LastWantsPartitions":                   testNoPartitions,
		"SaysThatTheTransactionalIDIsForbidden": testForbiddenID,
		"SaysThatTransactionsMayNotLastSoLong":  testForbiddenTimeout,
	} {
		t.Run(name, func(t *testing.T) { test(t, client) })
	}
}

// The coordinator refuses to commit, and nothing of the transaction may ever be seen.
func testRefusedCommit(t *testing.T, client publisher.Client) {
	for _, refusal := range []*kerr.Error{
		kerr.InvalidTxnState, kerr.InvalidProducerIDMapping, kerr.InvalidProducerEpoch, kerr.ProducerFenced,
		kerr.TransactionalIDAuthorizationFailed, kerr.TransactionAbortable, kerr.UnknownServerError,
	} {
		t.Run(refusal.Message, func(t *testing.T) {
			fake := StartFake(t)
			site := fake.Site()
			topic := newTopic(t, site.Brokers, 1, nil)
			cfg := transactionConfig(t, site.Brokers, "id")
			first := takeOver(t, client, cfg)
			first.commits(topic, "before")
			first.begin()
			first.tells(topic, "refused")
			refused := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: refusal, Count: 1})
			first.commitFails("the coordinator refused")
			if refused.Hits() != 1 {
				t.Fatalf("the coordinator refused %d requests, want 1", refused.Hits())
			}
			first.producer.Close()
			takeOver(t, client, cfg).commits(topic, "after")
			sees(t, client, cfg, topic, "after", "before")
		})
	}
}

func testRetriedCommit(t *testing.T, client publisher.Client) {
	for _, trouble := range []*kerr.Error{
		kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.ConcurrentTransactions,
	} {
		t.Run(trouble.Message, func(t *testing.T) {
			fake := StartFake(t)
			site := fake.Site()
			topic := newTopic(t, site.Brokers, 1, nil)
			cfg := transactionConfig(t, site.Brokers, "id")
			tx := takeOver(t, client, cfg)
			tx.begin()
			tx.tells(topic, "committed")
			troubled := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: trouble, Count: 1})
			tx.commit()
			if troubled.Hits() != 1 {
				t.Fatalf("the coordinator answered like this %d times, want once", troubled.Hits())
			}
			sees(t, client, cfg, topic, "committed")
		})
	}
}

// A broker that was killed amid a commit may say that it happened though it has not, and one that is answered late may
// have been asked twice: whoever had to wait has to look.
func testSlowCommit(t *testing.T, client publisher.Client) {
	const slowly = 1200 * time.Millisecond
	fake := StartFake(t)
	site := fake.Site()
	topic := newTopic(t, site.Brokers, 1, nil)
	tx := takeOver(t, client, transactionConfig(t, site.Brokers, "id"))
	commit := func() (clean bool) {
		t.Helper()
		tx.begin()
		tx.tells(topic, "v")
		clean, err := tx.producer.Commit(tx.ctx)
		if err != nil {
			t.Fatal(err)
		}
		return clean
	}
	eventually(t, patience, "a commit that nothing holds up is clean", commit)
	fake.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		fake.SleepControl(func() { time.Sleep(slowly) })
		return nil, nil, false
	})
	if commit() {
		t.Errorf("a commit that took %v is clean", slowly)
	}
}

// One record is acked, the other refused. A client that commits what is left would lose the other.
func testFailedRecord(t *testing.T, client publisher.Client) {
	fake := StartFake(t)
	site := fake.Site()
	topic := newTopic(t, site.Brokers, 1, nil)
	cfg := transactionConfig(t, site.Brokers, "id")
	first := takeOver(t, client, cfg)
	first.begin()
	first.tells(topic, "acked")
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord, Count: 1})
	first.send(publisher.Record{Topic: topic, Partition: 0, Value: []byte("refused")})
	if failed := first.settle(); failed != 1 {
		t.Fatalf("%d records failed, want 1: this test proves nothing", failed)
	}
	first.commitFails("a transaction of which a record failed")
	first.producer.Close()
	takeOver(t, client, cfg).commits(topic, "after")
	sees(t, client, cfg, topic, "after")
}

func testForbiddenID(t *testing.T, client publisher.Client) {
	fake := StartFake(t)
	cfg := transactionConfig(t, fake.ListenAddrs(), "id")
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.TransactionalIDAuthorizationFailed, Count: -1})
	if _, err := client.OpenTransactional(t.Context(), cfg, &recorder{}); publisher.Class(err) != publisher.ClassUnauthorized {
		t.Errorf("take over: %v", err)
	}
	if err := client.MayTransact(t.Context(), cfg, "id"); publisher.Class(err) != publisher.ClassUnauthorized {
		t.Errorf("asked whether it may be used: %v", err)
	}
}

// The brokers' transaction.max.timeout.ms is shorter than what they are asked for.
func testForbiddenTimeout(t *testing.T, client publisher.Client) {
	fake := StartFake(t)
	cfg := transactionConfig(t, fake.ListenAddrs(), "id")
	fake.ControlKey(int16(kmsg.InitProducerID), func(asked kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		request := asked.(*kmsg.InitProducerIDRequest)
		if time.Duration(request.TransactionTimeoutMillis)*time.Millisecond < cfg.TransactionTimeout {
			return nil, nil, false
		}
		answer := request.ResponseKind().(*kmsg.InitProducerIDResponse)
		answer.ErrorCode = kerr.InvalidTransactionTimeout.Code
		return answer, nil, true
	})
	for what, err := range map[string]error{
		"take over":                    func() error { _, err := client.OpenTransactional(t.Context(), cfg, &recorder{}); return err }(),
		"asked whether it may be used": client.MayTransact(t.Context(), cfg, "id"),
	} {
		if publisher.Class(err) != publisher.ClassConfiguration || !strings.Contains(fmt.Sprint(err), "transaction.max.timeout.ms") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A topic that was just made has no partitions for a moment.
func testNoPartitions(t *testing.T, client publisher.Client) {
	fake := StartFake(t)
	host, port, err := net.SplitHostPort(fake.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	fake.ControlKey(int16(kmsg.Metadata), func(asked kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		answer := asked.ResponseKind().(*kmsg.MetadataResponse)
		broker := kmsg.NewMetadataResponseBroker()
		broker.Host, broker.Port = host, int32(number)
		answer.Brokers, answer.ControllerID = append(answer.Brokers, broker), 0
		for _, wanted := range asked.(*kmsg.MetadataRequest).Topics {
			topic := kmsg.NewMetadataResponseTopic()
			topic.Topic = wanted.Topic
			answer.Topics = append(answer.Topics, topic)
		}
		return answer, nil, true
	})
	r, err := client.Last(t.Context(), transactionConfig(t, fake.ListenAddrs(), "id"), "t", []byte("k"))
	if r != nil || publisher.Class(err) != publisher.ClassUnavailable {
		t.Errorf("%v, %v", r, err)
	}
}
