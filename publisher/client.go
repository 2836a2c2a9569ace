package publisher

import (
	"context"
	"time"
)

// Client is one library that speaks to Kafka: what the daemon and its commands need of it. publisher/librdkafka and
// publisher/franz are the two. Safe from many goroutines.
type Client interface {
	// Name as kafka.client has it, and Version of the library.
	Name() string
	Version() string

	// CheckProperties says which entries of kafka.properties this client refuses, or does not know.
	CheckProperties(properties map[string]string) []error

	// Check says why no producer can be made of a configuration each of whose properties is taken. It connects nowhere,
	// and does not look at the login.
	Check(cfg Config) error

	// Ping says whether the cluster answers, within ctx. Class of the error is authentication where the brokers refuse
	// us (asking again will not help), transport where they cannot be reached, configuration where the client does not
	// take the configuration.
	Ping(ctx context.Context, cfg Config) error

	// Copies is how often a producer of this client holds a record's bytes at most, until it is acked: in a buffer of its
	// own, and once more in the request if it does not send from there.
	Copies() int64

	// Open starts a producer. It does not wait for the cluster: ask Ping before. Reports get every outcome from one
	// goroutine, until Close returns. The error tells what the client does not take of the configuration.
	Open(cfg Config, reports Reports) (Producer, error)

	// OpenTransactional starts a producer under cfg.TransactionalID, fences older ones and waits until what they had
	// left open is ended, as long as ctx lasts.
	OpenTransactional(ctx context.Context, cfg Config, reports Reports) (Transactional, error)

	// Last is the newest committed record of a key, nil when the topic has none. The key's partition is the one that
	// murmur2 gives. It has read the partition up to the end that it had when Last was called, or it fails: "not found"
	// is never "could not read". Transactions of others that are open before that end are waited for, within ctx.
	Last(ctx context.Context, cfg Config, topic string, key []byte) (*TailRecord, error)

	// Tail reads topics without a consumer group, committed records only, and gives each to the function, in order
	// within a partition. It ends with nil at the limit, else with the function's error, with ctx's, or with what makes
	// reading impossible. Brokers that go away are waited for.
	Tail(ctx context.Context, cfg Config, opts TailOptions, each func(TailRecord) error) error

	// OpenAdmin starts a client for questions. It does not wait for the cluster.
	OpenAdmin(cfg Config) (Admin, error)

	// MayTransact asks whether a transactional id may be used with cfg.TransactionTimeout, by using it: a producer that has it is thrown out, so
	// give one that nobody has. It stays known to the cluster for a week, without a transaction. Class of the error is
	// unauthorized where the right is missing.
	MayTransact(ctx context.Context, cfg Config, id string) error
}

// TailOptions say what to read.
type TailOptions struct {
	Topics        []string
	FromBeginning bool   // else what comes after Started
	Limit         int    // records; 0 is no limit
	Started       func() // called once, when the positions are fixed; may be nil
}

// TailRecord is one record as a consumer sees it. Its slices belong to the receiver; nil is null.
type TailRecord struct {
	Topic     string
	Partition int32
	Offset    int64
	Timestamp time.Time
	Key       []byte
	Value     []byte
	Headers   []Header
}
