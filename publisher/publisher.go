package publisher

import (
	"context"
	"time"
)

// AnyPartition asks for the partition that the key's murmur2 hash gives, as Java's client computes it; records
// without a key are spread.
const AnyPartition int32 = -1

// NoLimit is the MaxMessageBytes of a topic whose limit could not be read.
const NoLimit = 0

// Header is one record header. A nil Value is Kafka's null, an empty one is an empty string.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record to be sent. Send copies what it needs: the caller may reuse the record and every slice in it
// as soon as Send returns.
type Record struct {
	Topic     string
	Partition int32     // AnyPartition, or the partition the event asks for
	Key       []byte    // nil is null, empty is an empty key
	Value     []byte    // nil is a tombstone
	Headers   []Header  // in the order in which they are stored
	Timestamp time.Time // zero means now
}

// Reports receives exactly one call for every record that Send accepted, from one goroutine, in any order over
// partitions. A call must not block: it holds up all acks.
type Reports interface {
	// Acked says that Kafka stored the record at this offset (never negative).
	Acked(tag any, partition int32, offset int64)
	// Failed says that the record was not acked. Ask the error what may have happened: MaybeWritten, Rejected, …
	Failed(tag any, err error)
}

// Topic is what the cluster says of a topic, at the time it was asked.
type Topic struct {
	Name            string
	Partitions      int32
	MaxMessageBytes int  // limit of one batch in bytes, or NoLimit
	Compacted       bool // cleanup.policy contains compact: a record needs a key
}

// Producer sends records and reports what became of them. Send, Flush, Topic and TopicNow are for one goroutine; the
// other methods are safe from any.
type Producer interface {
	// Send hands one record over. It waits, bounded by ctx, while the record's partition awaits the first ack of
	// this producer (slow start). An error means that the record was not sent and will not be reported: one of the
	// topic (TopicTrouble), of the record (Rejected), or of the producer (Fatal), else ctx's.
	Send(ctx context.Context, r *Record, tag any) error

	// Flush says that nothing follows for now: what was sent goes to the brokers at once, where the client would else
	// hold it back for a few milliseconds, that more may go in one request. It does not wait.
	Flush()

	// Topic answers from a cache that is renewed in the background; the first question about a name waits for the
	// broker. The error is TopicTrouble when the topic does not exist or may not be written, or says that the
	// cluster could not be asked.
	Topic(ctx context.Context, name string) (Topic, error)

	// TopicNow is Topic with an answer of this moment, for who is about to call a record wrong by it: the topic's limit
	// may just have been raised.
	TopicNow(ctx context.Context, name string) (Topic, error)

	// InFlight is the number of records sent and not yet reported.
	InFlight() int

	// Dead is closed when the producer can send no more; Err then says why.
	Dead() <-chan struct{}
	Err() error

	// Close drops what is not yet reported (each is reported Failed first) and frees the client. It returns when
	// no report will come any more.
	Close()
}
