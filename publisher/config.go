package publisher

import (
	"log/slog"
	"time"
)

// Config says how to reach a cluster and how to send. Every field must be set by the caller; there are no hidden
// defaults here.
type Config struct {
	Brokers     []string // host:port
	ClientID    string
	Compression string // none, gzip, lz4, snappy, zstd
	TLS         TLS
	SASL        SASL
	// Properties are librdkafka's own, passed through after CheckProperties.
	Properties map[string]string

	// MessageTimeout bounds how long a record that was handed over may still be written. It has to be below the
	// lease trust that is left when the record is handed over. A client may give all up a little sooner, together
	// (between 94 and 98 percent), so that none passes another. A client whose connections are gated (franz-go's Trust)
	// need not be below the lease: nothing is written after it.
	MessageTimeout time.Duration
	// TransactionalID makes a transactional producer (OpenTransactional); "" a plain one. TransactionTimeout is then
	// when the cluster aborts a transaction that nobody ends; MessageTimeout has to be shorter.
	TransactionalID    string
	TransactionTimeout time.Duration

	// MaxInFlightRecords and MaxInFlightBytes are above what the caller keeps in flight, so that the client's own
	// queue is never full.
	MaxInFlightRecords int
	MaxInFlightBytes   int64

	Log *slog.Logger
}

// TLS to the brokers. Files are PEM.
type TLS struct {
	Enabled         bool
	CAFile          string
	CertFile        string
	KeyFile         string
	KeyPasswordFile string
}

// SASL names who we are to the brokers. Mechanism "" means none.
type SASL struct {
	Mechanism    string // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER
	Username     string
	Password     string
	ClientID     string // OAUTHBEARER, client credentials
	ClientSecret string
	TokenURL     string
	Scope        string
}

// The names of the clients.
const (
	ClientLibrdkafka = "librdkafka"
	ClientFranz      = "franz-go"
)
