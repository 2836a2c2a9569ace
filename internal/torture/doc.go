// Package torture proves the relay's promises against servers that break: it writes events, breaks what the relay
// stands on, reads back what arrived, and compares.
//
//	writers ──outbox.Insert──► PostgreSQL ──► relays (processes) ──► Kafka ──franz-go──► readers
//	   │                            ▲              ▲                   ▲                    │
//	   │                            └────────── nemesis ───────────────┘                    │
//	   ▼                                                                                    ▼
//	 ledger ──────────────────────────────► check ◄──────────────────────────────────────── records
//
// What has to arrive is known from the writers' side alone: each transaction writes a ledger line before its COMMIT and
// one after it, and a witness row in itself, which in the end tells what became of those whose writer did not learn it.
// Half of the keys are serialised: a transaction locks the key's row first, so the key's events have a known order.
//
// [Run] does all of it and writes a folder (package journal); package check judges the folder, then or later; package
// nemesis breaks things. The servers are started here, or are somebody's own: then only what can be done to them from
// outside is done, and the relays work in a schema of their own.
//
// What is not promised: that a run with the same seed repeats a history. The seed fixes the writers' plan and the
// faults; what meets what is up to the machine.
package torture
