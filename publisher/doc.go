// Package publisher is all that the relay knows of Kafka: records, acks, topics and error classes.
//
// A client implements [Producer]; publisher/librdkafka is the first. All clients pass one contract suite
// (publisher/contract), against a broker in process and against real Apache Kafka.
//
// What a Producer promises: a record is acked only when Kafka stored it and said at which offset; records of one
// partition are stored in the order they were sent; after a record of a partition failed for good, no later record
// of that partition is stored by the same producer. What it does not promise: that a record which failed was not
// stored ([MaybeWritten]); only reading the topic tells.
//
// The states of a producer:
//
//	new ──first report──► running ──fatal error──► dead ──► Close
//	                         │                               ▲
//	                         └───────────drained─────────────┘
//
// A dead producer is never revived: its user closes it, opens another, and sends again from what it knows to be
// acked.
package publisher
