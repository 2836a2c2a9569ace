// Package franz is the relay's second Kafka client: publisher.Producer on franz-go, pure Go.
//
// What it adds to franz-go's idempotent producer:
//
//   - The gate. No connection writes once the producer is dead or the lease that Trust was told of is over, whatever
//     franz-go still holds: it has no timeout that would keep a frozen process from writing after its successor, and
//     without the gate it would write later records of a key after it has failed one.
//   - The first failure ends the producer, in the moment in which franz-go fails a batch: it logs that under the
//     partition's lock, before anything later can be put into a request.
//   - A broker that misses acked records ends the producer. franz-go would number what follows anew and go on; the relay
//     goes back to its cursor instead, and sends again what it has not written down as acked.
//   - An ack needs an offset. franz-go takes a batch that the broker calls a duplicate for a success without one.
//   - Slow start. To a partition that has not acked anything yet, or not for ten minutes, one record goes at a time.
//   - Batches fit the topic: franz-go is told each topic's own limit, and where that or the size on the wire is not known
//     what is under way to one partition fits one batch. A limit that changes replaces the producer between two records.
//   - Partitions are chosen here, as Java's client does, from a cached count; a topic that grows changes its keys'
//     partitions only while nothing of it is in flight.
//   - A transaction of which a record failed is never asked to commit: franz-go would commit the rest and say ok.
//
// A producer's goroutines: the one that calls Reports, the watcher of topics, the watcher of deadlines, franz-go's own.
package franz
