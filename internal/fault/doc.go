// Package fault lets a test interrupt the relay exactly between two steps.
//
// In a normal build [At] does nothing and is compiled away. Built with the tag "faults", the environment variable
// RELAY_FAULT names points and what happens there, separated by commas:
//
//	RELAY_FAULT=settle-sent:kill@3,release-acked:stop
//
// Actions are kill (the process kills itself with SIGKILL), stop (SIGSTOP: a frozen process that may be thawed),
// sleep (for ten seconds) and error (the step fails). @n is the n-th time the point is passed; without it the first.
//
// The points, in the order in which a session passes them (E: only with delivery exactly_once, A: only with
// at_least_once):
//
//	acquired          the lease is ours
//	connected         both connections of a session stand
//	init            E the older producer is fenced
//	position          the cursor row is read
//	page              before a page is read
//	begin           E before a transaction begins
//	send              before a record is handed over
//	acked           E every event of the transaction is acked
//	prepare-ready   E before the candidate is written; prepare-done: it is
//	progress        E the progress record is acked
//	commit          E Kafka has said that the transaction is committed; committed: and we have noted it
//	settle-ready      before the cursor is moved; settle-done: it is
//	renew             before the lease is renewed
//	drain             everything is sent, the relay is to stop
//
// and those of the parked runner: release-sent, release-prepared E, release-committed E, release-acked, release-deleted A.
package fault
