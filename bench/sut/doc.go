// Package sut has the systems under test: each brings rows of a table, or records from memory, to a topic.
//
// A [Kind] opens a [System] on a site. All are measured in the same way and none is asked how it does: rates come from
// the offsets of the topic, costs from /proc. What each does is told to its process from outside, as its users would.
//
//	relay-…      the relay's binary, with one of its Kafka clients
//	bare-…       a Kafka client alone, from memory: the most that its relay could reach
//	poller       what a team would write by hand: claim, publish, mark, repeat
//	debezium-…   Debezium's outbox event router on Kafka Connect
package sut
