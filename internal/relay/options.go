package relay

import (
	"context"
	"log/slog"
	"time"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/internal/tracing"
	"github.com/outboxrelay/relay/publisher"
)

// Options are what a Relay needs. Every field has to be set, unless it says otherwise.
type Options struct {
	Postgres store.ConnString
	Schema   string
	Name     string // one lease and one cursor per name
	Holder   string // this process, unlike any other
	Wake     string // auto, listen or poll

	LeaseTTL     time.Duration
	MaxInFlight  int64 // bytes that what is in flight may take
	Copies       int64 // publisher.Client's; 0 is 1
	DrainTimeout time.Duration
	PollLeast    time.Duration
	PollMost     time.Duration

	Headers      HeaderNames
	RowTimestamp bool     // Kafka's timestamp is the row's, not the time of publishing
	Compressed   bool     // records are compressed, so their plain size proves nothing
	Allow        []string // patterns of topics that may be written
	Topics       []string // of topics whose deliveries are counted from the start, at 0; may be empty
	SkipDead     bool     // a dead event does not hold back its key
	// DeadLetterTopic gets a copy of each dead event; "" for none.
	DeadLetterTopic string

	// Open makes a producer that reports to r; it may return before a broker has answered.
	Open func(r publisher.Reports) (publisher.Producer, error)
	// ExactlyOnce is nil with delivery at_least_once. With it, Open makes no producer.
	ExactlyOnce *ExactlyOnce
	// Ping says whether the cluster can be reached.
	Ping func(ctx context.Context) error

	// Keep is nil when nothing is to be discarded or audited.
	Keep *Keeping

	// Trace takes the spans of sampled events; nil for none.
	Trace *tracing.Tracer

	// Rest is told when a leader has had nothing to do for a while, and when that ends.
	Rest func(resting bool)

	Log *slog.Logger
}

// ProducerLimits are what a producer for these options must be able to queue: more than the relay ever has in flight.
func (o *Options) ProducerLimits() (records int, bytes int64) {
	const oneLargeRow = 1 << 30 // a row beyond the budget goes alone
	return int(2 * o.rowsInFlight()), o.MaxInFlight + oneLargeRow
}

const (
	// usualRows are in flight at most with usualBytes, the default of MaxInFlight. More is slower at home, for the CPU's
	// caches no longer hold what is in flight (docs/decisions/0010-franz-hot-path.md).
	usualRows  = 6000
	usualBytes = 32 << 20
	// mostRows bound the Kafka client's queue.
	mostRows = 10 * usualRows
)

// bytesInFlight is how many bytes of rows are in flight at most.
func (o *Options) bytesInFlight() int64 { return o.MaxInFlight / max(o.Copies, 1) }

// rowsInFlight is how many rows are in flight at most. Whoever gives more than the usual bytes has brokers far away, and
// needs rows in proportion.
func (o *Options) rowsInFlight() int64 {
	return min(max(usualRows, o.MaxInFlight*usualRows/usualBytes), mostRows)
}
