package contract

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

// RunTransactions holds a client to what publisher.Transactional promises, against one cluster. Its tests run side by
// side.
func RunTransactions(t *testing.T, client publisher.Client, site Site) {
	for name, test := range map[string]func(*testing.T, publisher.Client, Site){
		"ShowsAllOfACommitTogether":             testCommit,
		"CommitsAtTheLastAck":                   testCommitAtTheLastAck,
		"ShowsNothingOfAnAbort":                 testAbort,
		"IsFencedInMidTransaction":              testFencedAtCommit,
		"IsFencedWhileItSends":                  testFencedSending,
		"IsFencedAtRest":                        testFencedAtRest,
		"EndsWhatASessionLeftOpen":              testGivenUp,
		"EndsAtTheTransactionTimeout":           testTransactionTimeout,
		"LastWaitsForAnothersTransaction":       testLastWaits,
		"NeedsATransactionalID":                 testNoID,
		"TakesOverNoLongerThanTheCallerWants":   testTakeOverBounded,
		"AsksWhetherTheTransactionalIDIsUsable": testMayTransact,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, client, site)
		})
	}
}

// The events of a transaction and its progress record lie in three partitions of one topic and in another topic.
func testCommit(t *testing.T, client publisher.Client, site Site) {
	events := newTopic(t, site.Brokers, 3, nil)
	progress := newTopic(t, site.Brokers, 2, map[string]string{"cleanup.policy": "compact"})
	cfg := transactionConfig(t, site.Brokers, events)
	if last := lastValue(t, client, cfg, progress, "name"); last != "" {
		t.Fatalf("an empty topic has the record %q", last)
	}
	tx := takeOver(t, client, cfg)
	var want []string
	for n := range 3 {
		tx.begin()
		for p := range int32(3) {
			value := fmt.Sprintf("%d.%d", n, p)
			tx.send(publisher.Record{Topic: events, Partition: p, Value: []byte(value)})
		}
		tx.allAcked()
		tx.send(publisher.Record{Topic: progress, Partition: publisher.AnyPartition, Key: []byte("name"), Value: fmt.Append(nil, n)})
		tx.allAcked()
		if seen, open := visible(t, site.Brokers, events); !slices.Equal(seen, want) || !open {
			t.Errorf("before commit %d: %q is visible, want %q; open %t", n, seen, want, open)
		}
		if seen, open := visible(t, site.Brokers, progress); len(seen) != n || !open {
			t.Errorf("before commit %d: %d progress records are visible; open %t", n, len(seen), open)
		}
		tx.commit()
		for p := range 3 {
			want = append(want, fmt.Sprintf("%d.%d", n, p))
		}
		if seen := committed(t, site.Brokers, events); !slices.Equal(seen, want) {
			t.Errorf("after commit %d: %q is visible, want %q", n, seen, want)
		}
		if last := lastValue(t, client, cfg, progress, "name"); last != fmt.Sprint(n) {
			t.Errorf("after commit %d the progress record is %q", n, last)
		}
	}
	if last := lastValue(t, client, cfg, progress, "another name"); last != "" {
		t.Errorf("another key has the record %q", last)
	}
}

// Who counts acks may ask for the commit before the last report has returned.
func testCommitAtTheLastAck(t *testing.T, client publisher.Client, site Site) {
	topic := newTopic(t, site.Brokers, 1, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ack := unreturned{told: make(chan struct{}), returns: make(chan struct{})}
	producer, err := client.OpenTransactional(ctx, transactionConfig(t, site.Brokers, topic), ack)
	if err != nil {
		t.Fatalf("open a producer: %v", err)
	}
	defer producer.Close()
	defer close(ack.returns)
	if err := producer.Begin(); err != nil {
		t.Fatalf("begin a transaction: %v", err)
	}
	if err := producer.Send(ctx, &publisher.Record{Topic: topic, Partition: 0, Value: []byte("value")}, nil); err != nil {
		t.Fatalf("send: %v", err)
	}
	producer.Flush()
	<-ack.told
	if _, err := producer.Commit(ctx); err != nil {
		t.Errorf("commit a transaction: %v", err)
	}
}

// unreturned is a Reports whose only ack does not return before returns is closed.
type unreturned struct{ told, returns chan struct{} }

func (u unreturned) Acked(any, int32, int64) {
	close(u.told)
	<-u.returns
}

func (u unreturned) Failed(_ any, err error) { panic(err) }

func testAbort(t *testing.T, client publisher.Client, site Site) {
	topic := newTopic(t, site.Brokers, 1, nil)
	cfg := transactionConfig(t, site.Brokers, topic)
	first := takeOver(t, client, cfg)
	first.commits(topic, "committed before")
	first.begin()
	first.tells(topic, "aborted")
	if err := first.producer.Abort(first.ctx); err != nil {
		t.Errorf("abort: %v", err)
	}
	first.producer.Close()
	takeOver(t, client, cfg).commits(topic, "committed after")
	sees(t, client, cfg, topic, "committed after", "committed before")
}

// overtaken gives a producer with an open transaction, and its successor under the same id.
func overtaken(t *testing.T, client publisher.Client, site Site) (topic string, cfg publisher.Config, first, second *transacted) {
	t.Helper()
	topic = newTopic(t, site.Brokers, 1, nil)
	cfg = transactionConfig(t, site.Brokers, topic)
	first = takeOver(t, client, cfg)
	first.begin()
	first.tells(topic, "open when the successor came")
	return topic, cfg, first, takeOver(t, client, cfg)
}

// The successor comes while a transaction is open, and the first producer asks for its commit.
func testFencedAtCommit(t *testing.T, client publisher.Client, site Site) {
	topic, cfg, first, second := overtaken(t, client, site)
	sees(t, client, cfg, topic)
	first.commitFails("a fenced producer")
	if err := first.producer.Err(); !publisher.Fatal(err) {
		t.Errorf("what ended the fenced producer: %v", err)
	}
	<-first.producer.Dead()
	if err := first.producer.Begin(); !publisher.Fatal(err) {
		t.Errorf("begin after that: %v", err)
	}
	second.commits(topic, "the successor's")
	sees(t, client, cfg, topic, "the successor's")
}

// The same, and the first producer sends on.
func testFencedSending(t *testing.T, client publisher.Client, site Site) {
	topic, cfg, first, second := overtaken(t, client, site)
	late := first.send(publisher.Record{Topic: topic, Partition: 0, Value: []byte("after the successor came")})
	first.settle()
	if late.err == nil {
		t.Errorf("a fenced producer's record was acked at %d", late.offset)
	}
	<-first.producer.Dead()
	first.commitFails("a fenced producer")
	second.commits(topic, "the successor's")
	sees(t, client, cfg, topic, "the successor's")
}

// The first producer has nothing open when the successor comes, and begins.
func testFencedAtRest(t *testing.T, client publisher.Client, site Site) {
	topic := newTopic(t, site.Brokers, 1, nil)
	cfg := transactionConfig(t, site.Brokers, topic)
	first := takeOver(t, client, cfg)
	first.commits(topic, "before the successor came")
	second := takeOver(t, client, cfg)
	if first.producer.Begin() == nil && first.trySend(publisher.Record{Topic: topic, Partition: 0, Value: []byte("zombie")}) == nil {
		if failed := first.settle(); failed != 1 {
			t.Errorf("a fenced producer's record was acked")
		}
	}
	first.commitFails("a fenced producer")
	second.commits(topic, "the successor's")
	sees(t, client, cfg, topic, "before the successor came", "the successor's")
}

// A session is given up in mid-transaction: some records are acked, one is on its way. Until the successor comes the
// transaction holds up all readers; then it is over at once, whatever its timeout.
func testGivenUp(t *testing.T, client publisher.Client, site Site) {
	topic := newTopic(t, site.Brokers, 1, nil)
	cfg := transactionConfig(t, site.Brokers, topic)
	first := takeOver(t, client, cfg)
	first.begin()
	first.tells(topic, "acked")
	first.send(publisher.Record{Topic: topic, Partition: 0, Value: []byte("on its way")})
	first.producer.Close()
	if seen, open := visible(t, site.Brokers, topic); len(seen) > 0 || !open {
		t.Fatalf("before the successor came: %q is visible, open %t", seen, open)
	}
	second := takeOver(t, client, cfg)
	sees(t, client, cfg, topic)
	second.commits(topic, "the successor's")
	sees(t, client, cfg, topic, "the successor's")
}

// Nobody ends the transaction: the cluster does, and a commit that comes after that is refused.
func testTransactionTimeout(t *testing.T, client publisher.Client, site Site) {
	topic := newTopic(t, site.Brokers, 1, nil)
	cfg := transactionConfig(t, site.Brokers, topic)
	cfg.MessageTimeout, cfg.TransactionTimeout = 5*time.Second, 10*time.Second // librdkafka takes no less
	first := takeOver(t, client, cfg)
	first.begin()
	first.tells(topic, "too late")
	if seen, open := visible(t, site.Brokers, topic); len(seen) > 0 || !open {
		t.Fatalf("before the timeout: %q is visible, open %t", seen, open)
	}
	sees(t, client, cfg, topic)
	first.commitFails("a transaction that the cluster has ended")
	first.producer.Close()
	takeOver(t, client, cfg).commits(topic, "in time")
	sees(t, client, cfg, topic, "in time")
}

// Another's open transaction lies before the record that is looked for: nobody can know yet what is the last one.
func testLastWaits(t *testing.T, client publisher.Client, site Site) {
	topic := newTopic(t, site.Brokers, 1, nil)
	slow := takeOver(t, client, transactionConfig(t, site.Brokers, topic+"-slow"))
	slow.begin()
	slow.tells(topic, "slow")
	cfg := transactionConfig(t, site.Brokers, topic+"-quick")
	quick := takeOver(t, client, cfg)
	quick.commits(topic, "quick")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if r, err := client.Last(ctx, cfg, topic, []byte("key")); err == nil {
		t.Fatalf("found %v although the partition could not be read to its end", r)
	}
	slow.commit()
	if last := lastValue(t, client, cfg, topic, "key"); last != "quick" {
		t.Errorf("the last record is %q", last)
	}
}

func testNoID(t *testing.T, client publisher.Client, site Site) {
	p, err := client.OpenTransactional(t.Context(), Config(t, site.Brokers), &recorder{})
	if publisher.Class(err) != publisher.ClassConfiguration {
		t.Errorf("without a transactional id: %v", err)
	}
	if p != nil {
		t.Error("there is a producer beside the error")
	}
}

func testTakeOverBounded(t *testing.T, client publisher.Client, _ Site) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connections come about, and nobody reads them
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	for _, broker := range []string{"127.0.0.1:1", silent.Addr().String()} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		began := time.Now()
		if _, err := client.OpenTransactional(ctx, transactionConfig(t, []string{broker}, "id"), &recorder{}); err == nil {
			t.Error("took over where nobody answers")
		}
		cancel()
		if took := time.Since(began); took > patience/3 {
			t.Errorf("it took %v, the caller wanted to wait half a second", took)
		}
	}
}

// Asking uses the id: whoever has it is thrown out. So it must be asked about one that nobody has.
func testMayTransact(t *testing.T, client publisher.Client, site Site) {
	topic := newTopic(t, site.Brokers, 1, nil)
	cfg := transactionConfig(t, site.Brokers, "")
	if err := client.MayTransact(t.Context(), cfg, topic+"-check"); err != nil {
		t.Errorf("an id that nobody has: %v", err)
	}
	used := transactionConfig(t, site.Brokers, topic)
	tx := takeOver(t, client, used)
	tx.begin()
	tx.tells(topic, "open when somebody asked")
	if err := client.MayTransact(t.Context(), cfg, topic); err != nil {
		t.Errorf("an id that is in use: %v", err)
	}
	tx.commitFails("a producer that was thrown out")
	sees(t, client, used, topic)
}
