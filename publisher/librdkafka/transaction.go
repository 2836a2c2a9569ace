//go:build cgo

package librdkafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/publisher"
)

const (
	// transactionRetry is retry.backoff.ms of a transactional producer. A request that is sent again waits this long,
	// less a fifth of jitter, so an answer that came sooner than doubtAfter was to the only copy.
	transactionRetry = 250 * time.Millisecond
	doubtAfter       = transactionRetry * 7 / 10
	// transactionAnswer is socket.timeout.ms: how long an unanswered request hangs.
	transactionAnswer = 10 * time.Second
	// transactionStep bounds one call into the library, which cannot be cut.
	transactionStep = time.Second
)

// Transactions is a publisher.Transactional on librdkafka. OpenTransactional makes one.
//
// librdkafka speaks the protocol in which an EndTxn names a producer epoch and no transaction. One that comes late,
// because its first copy was held up and the second answered, ends whatever transaction is then open:
//
//	commit 1 → held up;  sent again → answered;  begin 2, records;  the first copy arrives → 2 is committed half
//
// So a producer is used no longer once that could happen. After InitTransactions of a new one the late request is
// refused.
type Transactions struct {
	*Producer
	disturbed int64 // voice.disturbed when the transaction began
}

var _ publisher.Transactional = (*Transactions)(nil)

// OpenTransactional starts a producer under cfg.TransactionalID, fences older ones and waits until what they had left
// open is ended, as long as ctx lasts. Reports are Open's. Without ctx's end the error is fatal: the library does not
// take the configuration, or the cluster does not let us use the id.
func OpenTransactional(ctx context.Context, cfg publisher.Config, reports publisher.Reports) (*Transactions, error) {
	if cfg.TransactionalID == "" {
		return nil, publisher.NewError(publisher.ClassConfiguration, "a transactional producer needs a transactional id")
	}
	p, err := Open(cfg, reports)
	if err != nil {
		return nil, err
	}
	t := &Transactions{Producer: p}
	if err := t.patiently(ctx, "take over the transactional id", p.client.InitTransactions); err != nil {
		p.Close()
		return nil, err
	}
	return t, nil
}

// transactionSettings are what a transactional producer has besides, or instead.
func transactionSettings(m kafka.ConfigMap, cfg publisher.Config) {
	m["transactional.id"] = cfg.TransactionalID
	m["transaction.timeout.ms"] = int(cfg.TransactionTimeout / time.Millisecond)
	m["retry.backoff.ms"] = int(transactionRetry / time.Millisecond)
	m["retry.backoff.max.ms"] = int(4 * transactionRetry / time.Millisecond)
	m["socket.timeout.ms"] = int(transactionAnswer / time.Millisecond)
	m["log.connection.close"] = "true" // voice.disturbed counts on these lines
	if m["log_level"] != "7" {
		m["log_level"] = "6"
	}
	delete(m, "message.timeout.ms") // the transaction's own
}

// Begin starts a transaction; see publisher.Transactional.
func (t *Transactions) Begin() error {
	t.disturbed = t.voice.disturbed.Load()
	if err := t.client.BeginTransaction(); err != nil {
		return fmt.Errorf("begin a transaction: %w", t.refused(asError(err)))
	}
	return nil
}

// Commit makes the transaction visible; see publisher.Transactional.
func (t *Transactions) Commit(ctx context.Context) (clean bool, err error) {
	asked := time.Now()
	if err := t.patiently(ctx, "commit a transaction", t.client.CommitTransaction); err != nil {
		return false, err
	}
	quick := time.Since(asked) < doubtAfter && t.voice.disturbed.Load() == t.disturbed
	return quick || mutant.On("no-recycle-after-doubt"), nil
}

// Abort discards the transaction; see publisher.Transactional.
func (t *Transactions) Abort(ctx context.Context) error {
	return t.patiently(ctx, "abort a transaction", t.client.AbortTransaction)
}

// patiently calls until it is done, for as long as the library says that the same call may be made again.
func (t *Transactions) patiently(ctx context.Context, what string, call func(context.Context) error) error {
	for {
		step, cancel := context.WithTimeout(context.Background(), transactionStep)
		err := call(step)
		cancel()
		var theirs kafka.Error
		switch {
		case err == nil:
			return nil
		case errors.As(err, &theirs) && theirs.IsRetriable() && ctx.Err() == nil && t.Err() == nil:
			continue
		}
		why := asError(err).With(t.voice.Clean(err.Error()))
		if publisher.Fatal(why) {
			t.die(why)
		}
		return fmt.Errorf("%s: %w", what, why)
	}
}
