// Package model holds the relay's protocol as a model for the checker spin, and a test that searches all its states.
// There is no code here that the relay runs.
//
// relay.pml is the relay: take-over, sessions, exactly_once and at_least_once. It follows internal/relay and
// internal/store step by step; a change to the order of steps there belongs here too. servers.pml is the rest of the
// world: the row of outbox.relays and a standby, Kafka's transaction coordinator, the network, and what consumers read.
//
// # What is proved, for two events, two terms and three producers or sessions
//
//	eventLost        never: the cursor passes an event that no consumer was shown, also after a promotion that lost the
//	                 newest writes, where other events take the places of lost ones
//	eventOvertaken   never: an event is shown first before an earlier one was
//	cursorWentBack   never, within one timeline of PostgreSQL
//	notAllSettled    never: a leader rests with something left to do
//	eventCopied      never in exactly_once, unless a promotion lost a candidate or a move of the cursor, or a copy of an
//	                 EndTxn stayed behind unnoticed (weather "unnoticed")
//	staleTail        never in exactly_once: when all is settled, the last copies are in order
//
// Relays are killed, doubt and stand still between any two steps. The lease has no clock: it may be taken at any
// moment, so nothing of the above rests on lease.ttl or on trust; those bound how many copies at_least_once makes.
//
// # The weathers
//
//	letters          PostgreSQL runs statements and Kafka receives EndTxns after their session has given up on them;
//	                 transactions time out
//	unnoticed        and the client sees no sign of an EndTxn that is on its way still
//	failover         a standby that lacks the newest write to the row is promoted, or one that lacks none
//	at_least_once    all of it, the last two writes; a record arrives after its session has ended
//
// All of it at once has too many states to be searched by a test. By hand, with other bounds:
//
//	spin -a -DROWS=3 -DTERMS=3 -DSESSIONS=4 -DLOSES=2 relay.pml && cc -O2 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m1000000
//
// A search that fails writes relay.pml.trail. With the same -D, `spin -t -p -g -l` prints the way to the failure.
//
// # What is left out
//
// Windows and anchors (which rows a page has; the tests of internal/store try that), the parked runner, keys and
// partitions beyond two, failures of brokers, more than one promotion, an old primary that goes on after a promotion,
// and time. Events are produced one after the other; that their acks come in order is the client's promise, tried by
// publisher/contract. Kafka behaves as a real broker was seen to: it refuses a record for a partition whose transaction
// is gone, and before the new protocol of KIP-890 an EndTxn ends whatever transaction of its producer epoch is open.
package model
