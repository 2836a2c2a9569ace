package contract

import (
	"context"
	"testing"

	"github.com/outboxrelay/relay/publisher"
)

// transacted is a transactional producer under test with what was sent through it.
type transacted struct {
	*bench
	producer publisher.Transactional
}

// transactionConfig has a timeout that no test waits for.
func transactionConfig(t testing.TB, brokers []string, id string) publisher.Config {
	cfg := Config(t, brokers)
	cfg.TransactionalID, cfg.TransactionTimeout = id, 4*patience
	return cfg
}

// takeOver opens a producer under the id of cfg.
func takeOver(t testing.TB, client publisher.Client, cfg publisher.Config) *transacted {
	t.Helper()
	tx := &transacted{}
	tx.bench = startBench(t, func(ctx context.Context, reports publisher.Reports) (publisher.Producer, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var err error
		tx.producer, err = client.OpenTransactional(ctx, cfg, reports)
		return tx.producer, err
	})
	return tx
}

func (tx *transacted) begin() {
	tx.t.Helper()
	if err := tx.producer.Begin(); err != nil {
		tx.t.Fatalf("begin a transaction: %v", err)
	}
}

// tells sends a value to partition 0 of a topic and waits until it is acked.
func (tx *transacted) tells(topic, value string) {
	tx.t.Helper()
	tx.send(publisher.Record{Topic: topic, Partition: 0, Key: []byte("key"), Value: []byte(value)})
	tx.allAcked()
}

func (tx *transacted) commit() {
	tx.t.Helper()
	if _, err := tx.producer.Commit(tx.ctx); err != nil {
		tx.t.Fatalf("commit a transaction: %v", err)
	}
}

// commits does a transaction of one record.
func (tx *transacted) commits(topic, value string) {
	tx.t.Helper()
	tx.begin()
	tx.tells(topic, value)
	tx.commit()
}

// commitFails wants Commit to say that it did not happen, or that it is not known.
func (tx *transacted) commitFails(why string) {
	tx.t.Helper()
	if clean, err := tx.producer.Commit(tx.ctx); err == nil || clean {
		tx.t.Errorf("%s: commit says clean %t, %v", why, clean, err)
	}
}
