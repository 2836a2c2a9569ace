package tracing

// Span is one try to publish an event. It is a value: the caller fills it and gives it to [Tracer.End].
type Span struct {
	Parent
	ID    [8]byte
	State string // tracestate

	// Nanoseconds of Unix time. Sent is when the record was handed to Kafka's client, 0 when it never was.
	Start, Sent, Finish int64

	Topic     string
	Event     [16]byte
	Partition int32 // -1: not known
	Offset    int64 // -1: not known
	// Again says that Kafka may have the event already.
	Again bool
	// Letter says that this is a copy for the dead-letter topic, not the event itself.
	Letter bool

	// Class is the class of what went wrong, "" when the event was delivered, and Reason says it to a person.
	Class, Reason string
}
