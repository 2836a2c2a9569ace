// Package acceptance tries the relay as its users run it: the binary, configured by its environment, between a real
// PostgreSQL that syncs and a real Apache Kafka, read back by a client that is not the relay's own.
//
//	clients ──outbox.Insert──► PostgreSQL ──► relay (a process) ──► Kafka ──franz-go──► tally
//	   └───────────── what was committed, by key ──────────────────────────────────────►  compared
//
// What an event must be when it arrives is known from the application's side alone: each client owns its keys, numbers
// the events of a key in the order of its commits, and seals each payload with a checksum. So the tally tells a lost
// event, a second copy, an inversion, a changed byte and one that was rolled back from each other, without asking the
// relay or its tables.
//
// There is no code here beside tests. They take some twenty minutes, print their figures (go test -v), read /proc, and
// are left out by -short. Assertions about time are generous, because the machine may be busy with other things; the
// figures are for people. Tests that wait for a lease, a restart or an outage run beside each other (t.Parallel), when
// all that measure are done.
package acceptance
