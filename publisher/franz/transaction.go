package franz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/publisher"
)

// safeTransactions is the transaction.version from which a late EndTxn cannot end the next transaction: the broker
// gives each one an epoch of its own (KIP-890).
const safeTransactions = 2

// Transactions is a publisher.Transactional on franz-go. OpenTransactional makes one. Its cluster has
// transaction.version 2 or more.
type Transactions struct {
	*Producer
}

var _ publisher.Transactional = (*Transactions)(nil)

// OpenTransactional starts a producer under cfg.TransactionalID, fences older ones and waits until what they had left
// open is ended, as long as ctx lasts. Reports are Open's. It refuses a cluster with a transaction.version below 2.
func OpenTransactional(ctx context.Context, cfg publisher.Config, reports publisher.Reports) (*Transactions, error) {
	if cfg.TransactionalID == "" {
		return nil, publisher.NewError(publisher.ClassConfiguration, "a transactional producer needs a transactional id")
	}
	p, err := Open(cfg, reports)
	if err != nil {
		return nil, err
	}
	// franz-go waits ten seconds for the first answer on a new connection, whatever ctx says.
	inTime := context.AfterFunc(ctx, func() { p.die(notAnswered(ctx.Err())) })
	err = takeOver(ctx, p.client)
	if !inTime() && err == nil {
		err = fmt.Errorf("take over the transactional id: %w", notAnswered(ctx.Err()))
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return &Transactions{p}, nil
}

// takeOver makes the transactional id ours.
func takeOver(ctx context.Context, client *kgo.Client) error {
	if err := checkTransactionVersion(ctx, client); err != nil {
		return err
	}
	if _, _, err := client.ProducerID(ctx); err != nil {
		why := asError(err)
		if ctx.Err() != nil {
			why = notAnswered(ctx.Err())
		}
		return fmt.Errorf("take over the transactional id: %w", why)
	}
	return nil
}

// checkTransactionVersion refuses a cluster on which a commit that comes late could end the next transaction.
func checkTransactionVersion(ctx context.Context, client *kgo.Client) error {
	response, err := versions(ctx, client)
	if err != nil {
		return fmt.Errorf("ask for the cluster's transaction.version: %w", notAnswered(err))
	}
	version := int16(0)
	for _, f := range response.FinalizedFeatures {
		if f.Name == "transaction.version" {
			version = f.MaxVersionLevel
		}
	}
	if version >= safeTransactions || mutant.On("franz-any-transaction-version") {
		return nil
	}
	return publisher.NewError(publisher.ClassConfiguration, fmt.Sprintf("the cluster's transaction.version is %d, and exactly_once "+
		`with franz-go needs %d: raise it (kafka-features.sh upgrade --feature transaction.version=2, Kafka 4.0 or newer), `+
		`or set kafka.client = "librdkafka"`, version, safeTransactions))
}

// Begin starts a transaction; see publisher.Transactional.
func (t *Transactions) Begin() error {
	if err := t.Err(); err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	if err := t.client.BeginTransaction(); err != nil {
		return fmt.Errorf("begin a transaction: %w", t.ended(err))
	}
	return nil
}

// errUndecided is for a caller that has not waited for all reports.
var errUndecided = publisher.NewError(publisher.ClassTransaction, "a record of the transaction is not acked yet")

// slowCommit is when a commit took so long that its user should look whether it happened. A late request is no danger,
// the broker knows it by its epoch; but a broker that was killed amid a commit and started again may say "committed" and
// never write the end of the transaction (see Hanging). No broker is back within this time.
const slowCommit = time.Second

// Commit makes the transaction visible; see publisher.Transactional. It is clean unless it was slow.
//
// franz-go commits what is left of a transaction of which records failed, and says ok. So it is not asked then: the first
// failure has ended the producer.
func (t *Transactions) Commit(ctx context.Context) (clean bool, err error) {
	if !mutant.On("franz-commit-of-the-rest") {
		if err := t.Err(); err != nil {
			return false, fmt.Errorf("commit a transaction: %w", err)
		}
		if t.InFlight() > 0 {
			return false, fmt.Errorf("commit a transaction: %w", errUndecided)
		}
	}
	asked := time.Now()
	if err := t.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return false, fmt.Errorf("commit a transaction: %w", t.ended(err))
	}
	return time.Since(asked) < slowCommit, nil
}

// Abort discards the transaction; see publisher.Transactional. ok is no proof after a commit was tried.
func (t *Transactions) Abort(ctx context.Context) error {
	defer t.die(errAborted)
	if err := t.client.AbortBufferedRecords(ctx); err != nil {
		return fmt.Errorf("abort a transaction: %w", asError(err))
	}
	if err := t.client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		return fmt.Errorf("abort a transaction: %w", asError(err))
	}
	return nil
}

var errAborted = publisher.NewError(publisher.ClassTransaction, "the transaction was aborted: the producer is replaced")

// ended ends the producer: what became of the transaction is not known, or the cluster will not go on with it.
func (t *Transactions) ended(err error) *publisher.Error {
	why := asError(err)
	t.die(why)
	return why
}

// MayTransact asks whether a transactional id may be used, by using it: a producer that has it is thrown out, so give
// one that nobody has. It stays known to the cluster for a week, without a transaction. publisher.Class of the error
// is unauthorized where the right is missing, configuration where the cluster's transaction.version is too old.
func MayTransact(ctx context.Context, cfg publisher.Config, id string) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	client, err := newClient(cfg, newGate(), nil, endsWith(ctx, kgo.TransactionalID(id), kgo.TransactionTimeout(cfg.TransactionTimeout)))
	if err != nil {
		return misconfigured(err)
	}
	defer client.Close()
	err = takeOver(ctx, client)
	if ours, ok := errors.AsType[*publisher.Error](err); ok {
		return ours
	}
	return err
}
