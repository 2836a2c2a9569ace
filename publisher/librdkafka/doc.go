//go:build cgo

// Package librdkafka is the relay's first Kafka client: publisher.Producer on librdkafka, which Confluent's binding brings.
//
// What it adds to librdkafka's idempotent, gapless producer:
//
//   - An ack needs an offset. librdkafka reports success without one for a record that the broker called a duplicate,
//     which may never have been stored.
//   - Slow start. To a partition that has not acked anything yet, or not for ten minutes, one record goes at a time:
//     with several requests under way, the first refused and the second taken by a broker that knows nothing of this
//     producer, the first would come back as such a duplicate.
//   - The first failed report ends the producer, and what is still queued is dropped. librdkafka's own gapless
//     guarantee does not cover time-outs: a later record of a key could pass.
//   - Partitions are chosen here, from a cached count, so that they equal Java's and a topic that grows changes its
//     keys' partitions only while nothing of it is in flight.
//   - Topics that are missing or forbidden are found out before a record is spent on them.
//
// Records and reports go to and from librdkafka itself (core.go), all else through the binding.
//
// Three goroutines serve a producer: the reader of events and log lines (the only one that calls Reports), the watcher
// of topics, and the caller of Send.
package librdkafka
