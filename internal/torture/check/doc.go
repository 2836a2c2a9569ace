// Package check judges a torture run by its journals alone: no server, no clock, no relay.
//
// [Load] reads a run's folder, [Check] says which invariants were broken and gives the figures. What a relay was to
// deliver is known from the writers' side only (ledger and witness rows), what it delivered from readers that are not
// the relay's own client.
//
//	I1   no loss       each committed event was read, byte for byte, from the right topic and partition
//	I2   no invention  each record read is of a committed transaction
//	I3   no copies     exactly_once: a read_committed reader sees each event once
//	I4   few copies    at_least_once: only around disruptions, at most what was in flight
//	I5   order         the first occurrences of a serialised key's events have the order of their commits
//	I6   stale tail    so have the last ones, but for what a frozen server held back (at_least_once)
//	I7   readers       those that read side by side and afterwards saw the same records at the same offsets
//	I8   cursor        it never went back within a timeline of PostgreSQL, nor did the epoch
//	I9   epochs        each was led by one process; later ones are higher
//	I10  atomicity     exactly_once: no transaction of a producer was aborted in one partition and committed in another
//	I11  liveness      after the healing all was delivered in time, and every relay that was not killed lives
//	I12  resources     memory, files and log stayed small; no panic; no secret
//	I13  fail-over     PostgreSQL lost no confirmed commit but by a promotion that is known to lose some
//	I14  client        the relays ran the Kafka client that they were told to run
//
// What is not checked: order of unserialised keys and of scheduled events, which nobody promises; that a record comes
// back after a topic was deleted; anything about time but the drain. A run in which nothing was written is no proof,
// and says so (I1).
package check
