// Package relay is the process that brings events from the outbox to Kafka: it leads or follows, and while it leads
// it runs one session after the other.
//
//	              lease free                    any doubt
//	following ───────────────► leading ─────► session ──────► session …
//	    ▲                         │   one term: one epoch        │
//	    └── lease lost, trust over┴── stop: drain, settle, release
//
// A session is one epoch's work on one reader connection, one settler connection and one producer. Its two halves:
//
//	feed    reads pages of a window and hands each row to Kafka's client, or parks it   (feed.go, judge.go, record.go)
//	settle  moves the cursor behind the longest prefix of batches that Kafka has acked  (settle.go)
//
// With delivery exactly_once the second half is the transaction (transaction.go, bracket.go): feed itself ends one where
// a page ends or it is full, and the cursor moves when Kafka is known to have committed it. A session then begins with
// a take-over (progress.go): fence, cursor row, last progress record. The parked runner has transactions of its own
// (parked_transaction.go).
//
// Between them stands the ledger (ledger.go): batches of rows in the order of reading, each with counters and one
// small ticket a row. No row is kept. Whatever is in doubt ends the session; the next one reads from the cursor row.
// What a session leaves to the next one of the same process is in memory.go: which rows behind the cursor were acked
// (they are not sent again) and which were refused.
//
// Sampled events have a span beside their ticket, for a collector of traces (trace.go).
//
// Beside the sessions of a term runs the janitor (janitor.go): by schedule it audits the books, empties slots of the ring
// and prunes. Delivery does not depend on it.
//
// What this package promises: an event is settled only after Kafka acked it with an offset, or in the statement that
// parks it; nothing is sent while the lease could be another's by the time the record expires. What it does not
// promise with at_least_once: that a crash, a fail-over or a fault of the broker leaves no second copy of what was in
// flight. With exactly_once none is visible to consumers of committed records, unless PostgreSQL itself lost commits.
package relay
