// Package publisher is all that the relay knows of Kafka: records, acks, topics and error classes.
//
// A client implements [Producer]; publisher/librdkafka and publisher/franz are the two. All clients pass one contract suite
// (publisher/contract), against a broker in process and against real Apache Kafka.
//
// What a Producer promises: a record is acked only when Kafka stored it and said at which offset; records of one
// partition are stored in the order they were sent; after a record of a partition failed, no later record of that
// partition that was not on its way yet is stored by the same producer. What it does not promise: that a record which
// failed was not stored ([MaybeWritten]); only reading the topic tells.
//
// Errors are asked, not compared: [Rejected], [TopicTrouble], [MaybeWritten], … An error of Send leaves the producer
// alive unless it is [Fatal]: the record was never handed over. The first failed report ends the producer; Err then
// has the cause, which the reports of records that only shared its fate ([Innocent]) do not.
//
// The states of a producer:
//
//	new ──► running ──first failed report, record too old, fatal error──► dead ──► Close
//	           │                                                                    ▲
//	           └──────────────────────────────drained───────────────────────────────┘
//
// A dead producer is never revived: its user closes it, opens another, and sends again from what it knows to be
// acked.
package publisher
