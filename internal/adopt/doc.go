// Package adopt makes a table of another layout feed the outbox: a statement trigger copies what is inserted there into
// the table events, in the same transaction.
//
// [ParseMap] reads which column becomes what. [Inspect] looks at the table, [NewPlan] puts the two together and finds
// what does not fit, and [Plan.SQL] is the result as text. An [Adopter] carries it out:
//
//	             Install                    walk … drain … switch (Backfill)
//	(nothing) ─────────────► live     ┌──────────────────────────────┐
//	    │                      ▲      │                              ▼
//	    └── Install, backfill ─┼─► backfilling ─────────────────────► live
//	                           └── Replace: another map
//	Refresh: the trigger of a backfill made anew, by the same map
//	Remove: back to nothing
//
// What is promised: of the rows that commit after Install each gives one event, whatever inserts it and whatever
// becomes of the row afterwards. With a backfill so does each row that was committed before, in the order of a column,
// and before all events of later rows. No row is in both, none in neither: Install and the switch lock writers out for
// a moment, so that no transaction is on both sides. A backfill that is killed goes on where it was.
//
// An adoption is known by its number and the table's oid, not by names, which move from table to table.
//
// What is not: rows that are deleted before the backfill comes to them are not copied, nor are those whose order or key is
// changed meanwhile; rows that come without firing
// triggers (session_replication_role = replica, a partition attached later and written to directly) are not seen.
//
// Everything here runs as the owner of the outbox's schema, who also has to own the table, or as a superuser. Where the
// table is another role's, no code of that role's types runs with those rights.
package adopt
