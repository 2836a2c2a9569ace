package publisher

import (
	"errors"
	"strconv"
)

// The class words of errors: stable, made for metrics, logs and the reason of a parked event.
const (
	ClassNoTopic          = "no_topic"          // the topic (or the partition asked for) is not there
	ClassInvalidTopic     = "invalid_topic"     // a name Kafka does not take, or an internal topic
	ClassForbidden        = "forbidden"         // we may not write the topic
	ClassPolicy           = "policy"            // the cluster's policy or the topic's format refuses
	ClassTooLarge         = "too_large"         // larger than the topic's max.message.bytes
	ClassInvalidRecord    = "invalid_record"    // the broker will not take such a record
	ClassInvalidTimestamp = "invalid_timestamp" // outside of the topic's timestamp range
	ClassBadPartition     = "bad_partition"     // the record asks for a partition the topic does not have
	ClassNeighbour        = "neighbour"         // another record of the batch was refused
	ClassPurged           = "purged"            // given up while it waited to be sent, perhaps not for the first time
	ClassCut              = "cut"               // given up while the broker had it
	ClassTimedOut         = "timed_out"         // no ack in time
	ClassTransport        = "transport"         // the brokers cannot be reached
	ClassUnavailable      = "unavailable"       // the partition has no leader or too few replicas, or its disk failed
	ClassThrottled        = "throttled"         // over a quota
	ClassQueueFull        = "queue_full"        // the caller had more in flight than it said it would
	ClassAuthentication   = "authentication"    // wrong credentials, or TLS that does not come about
	ClassUnauthorized     = "unauthorized"      // known to the cluster, but not allowed to produce at all
	ClassFenced           = "fenced"            // another producer took over
	ClassOutOfSequence    = "out_of_sequence"   // the broker lost its state of this producer
	ClassNoOffset         = "no_offset"         // success without an offset: no proof that it was stored
	ClassTransaction      = "transaction"       // the cluster has ended the transaction, or will not go on with it
	ClassFatal            = "fatal"             // the client gave up
	ClassClosed           = "closed"            // the producer was closed
	ClassConfiguration    = "configuration"     // the client does not take the configuration
	ClassUnknown          = "unknown"           // none of the above
)

// Classes are all the class words, for metrics that have to be there before the first error. The slice is the caller's.
func Classes() []string {
	return []string{ClassNoTopic, ClassInvalidTopic, ClassForbidden, ClassPolicy, ClassTooLarge, ClassInvalidRecord,
		ClassInvalidTimestamp, ClassBadPartition, ClassNeighbour, ClassPurged, ClassCut, ClassTimedOut, ClassTransport,
		ClassUnavailable, ClassThrottled, ClassQueueFull, ClassAuthentication, ClassUnauthorized, ClassFenced,
		ClassOutOfSequence, ClassNoOffset, ClassTransaction, ClassFatal, ClassClosed, ClassConfiguration, ClassUnknown}
}

// Error is what went wrong with a record, a topic or a producer. Callers ask the questions below; clients build it.
// It holds no key, no payload and no secret. It is immutable.
type Error struct {
	class  string
	phrase string
	code   int   // Kafka's code, negative for librdkafka's own, 0 for ours
	fatal  bool  // the producer that said this can send no more
	cause  error // nil, or what Classed was given
}

// Error is the phrase and Kafka's code.
func (e *Error) Error() string {
	if e.code == 0 {
		return e.phrase
	}
	return e.phrase + " (kafka code " + strconv.Itoa(e.code) + ")"
}

// Unwrap gives what has no class by itself.
func (e *Error) Unwrap() error { return e.cause }

// Class of the error, one of the Class words.
func (e *Error) Class() string { return e.class }

// Code is Kafka's, negative for librdkafka's own, 0 where Kafka said nothing.
func (e *Error) Code() int { return e.code }

// NewError makes an error of one of the Class words. The phrase is for people: lower case, no key, payload or secret.
func NewError(class, phrase string) *Error {
	return &Error{class: class, phrase: phrase}
}

// Classed is err, as one of ours of the class unknown when it is not one already; nil for nil. It is for what comes from
// a client, so that nobody takes it for an error of somebody else's.
func Classed(err error) error {
	if err == nil || OfKafka(err) {
		return err
	}
	return &Error{class: ClassUnknown, phrase: err.Error(), cause: err}
}

// Ends is the same error, with the additional claim that it ended the producer ([Fatal]).
func (e *Error) Ends() *Error {
	c := *e
	c.fatal = true
	return &c
}

// With is the same error, its phrase followed by a detail.
func (e *Error) With(detail string) *Error {
	c := *e
	if detail != "" {
		c.phrase += ": " + detail
	}
	return &c
}

// Rejected says that Kafka will not take this record as it is. In a report it is no proof against a record that
// shared a batch with others: they are all hit. Send it alone, then judge.
func Rejected(err error) bool {
	return is(err, ClassTooLarge, ClassInvalidRecord, ClassInvalidTimestamp, ClassBadPartition)
}

// TopicTrouble says that nothing is wrong with the record: its topic is missing, forbidden or not to be written. It
// heals when the topic or the right appears.
func TopicTrouble(err error) bool {
	return is(err, ClassNoTopic, ClassInvalidTopic, ClassForbidden, ClassPolicy)
}

// NotWritten says that the record was surely not stored. A purged one does not count: librdkafka says the same of a
// record that was sent, stored, and then waited for its next try.
func NotWritten(err error) bool {
	return Rejected(err) || TopicTrouble(err) ||
		is(err, ClassNeighbour, ClassThrottled, ClassQueueFull, ClassConfiguration)
}

// MaybeWritten says that the record may be stored, or may be stored still: only reading the topic tells. All that is
// not surely unwritten counts as such.
func MaybeWritten(err error) bool { return err != nil && !NotWritten(err) }

// Innocent says that the record only shared the fate of another, or of the producer.
func Innocent(err error) bool { return is(err, ClassNeighbour, ClassPurged, ClassCut) }

// Throttled says to back off, then send again.
func Throttled(err error) bool { return is(err, ClassThrottled) }

// Fenced says that another producer took over.
func Fenced(err error) bool { return is(err, ClassFenced) }

// NoOffset says that the broker answered with success and without an offset, which is no proof that the record was
// stored.
func NoOffset(err error) bool { return is(err, ClassNoOffset) }

// Fatal says that the producer can send no more and must be replaced.
func Fatal(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.fatal || e.class == ClassFatal || e.class == ClassFenced || e.class == ClassClosed)
}

// OfKafka says that the error is Kafka's or its client's, of whatever class.
func OfKafka(err error) bool {
	var e *Error
	return errors.As(err, &e)
}

// Class is the error's class word; "" for nil and "unknown" for errors of other packages.
func Class(err error) string {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.class
	}
	return ClassUnknown
}

// Reason is the class word and a short sentence for people, as parked events keep it: "no_topic: the topic does not
// exist (kafka code 3)". "" for nil.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.class + ": " + e.Error()
	}
	return ClassUnknown + ": " + err.Error()
}

func is(err error, classes ...string) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range classes {
		if e.class == c {
			return true
		}
	}
	return false
}
