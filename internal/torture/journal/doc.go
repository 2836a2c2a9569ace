// Package journal is what a torture run writes down, so that it can be judged later without any server.
//
// A run's folder holds:
//
//	run.json           the run: seed, mode, faults, topics, limits
//	actions.jsonl      what was done to the servers and relays, and what they did by themselves; synced line by line
//	ledger.jsonl       each transaction: what it was going to write, before COMMIT; how it ended, after
//	witness.jsonl      the transactions that PostgreSQL holds in the end
//	concurrent.jsonl   records as a read_committed reader saw them while it all happened
//	fresh.jsonl        records as a new read_committed reader saw them in the end
//	uncommitted.jsonl  records as a new read_uncommitted reader saw them in the end, with the marks of transactions
//	samples.jsonl      the row of outbox.relays, whenever it changed
//	usage.jsonl        memory, files and log of each relay, each second
//	relay-N.K.log      the log of the K-th process of replica N
//
// A line is in the file, though not yet on the disk, when [Writer.Append] returns; twice a second, and at the end, the
// files are synced. So a crash of the program loses no line, and a power cut half a second.
//
// Times are microseconds since 1970 by the clock of the machine that ran the torture: one clock for all lines.
package journal
