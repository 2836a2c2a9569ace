// Package store is PostgreSQL as the relay sees it: which events are new, how far the relay has come, and who may
// say so.
//
// Values, without I/O: [Snapshot], [Cursor], [Anchors], [Books], [Row]. What talks to the server: [Connect] and the
// session rules, [Reader] (pages of a window), [Settler] (cursor, books and parked rows in one fenced statement),
// [Lease] (who leads), [Doorbell] (sleep until an insert rings), [Auditor] (books against table, and the ring),
// [Replayer] (delivered events once more), [Rebase] (after a dump and restore).
//
// A slot of the ring is truncated only in the transaction that has found its books balanced with writers locked out.
//
// # How events are found
//
// The cursor is a snapshot P: every event that P shows is delivered or parked. A newer snapshot C closes a window
// (P, C]: the events that C shows and P does not. Each committed transaction falls into exactly one window, however
// late it commits and whatever xid and seq it has. Within a window events go in the order of seq.
//
//	cursor at P ──page query, C comes back──► window (P, C] ──rows < limit──► cursor at C
//	                                             │      ▲
//	                                             └──────┘  more pages: (P, C, after)
//
// Where a page may begin to scan is told by [Anchors]. They rest on the events sequence, which has to count one by one
// upwards and never to go back: whoever reads it checks that, and a session ends where it is not so.
//
// # What ends a session
//
// A Reader and a Settler live on one connection each and for one session. Any error of theirs ends the session: the
// position in memory is thrown away and the next session starts from the cursor row, which is always consistent
// with the rows it speaks of because both are in one WAL.
package store
