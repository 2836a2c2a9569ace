// Command relay delivers the events of a transactional outbox in PostgreSQL to Kafka.
//
// Each subcommand has a file of its own. [Main] is the whole program: it takes what a process is given and returns an
// exit code, so that tests run it as users do, in process.
//
// Data goes to stdout, everything else to stderr. A command that reads has --json, which prints one document with
// stable keys (tail: one a line). Exit codes: 0 done, 1 failed at run time, 2 wrong usage or configuration, 3 looked
// and found something wrong.
package main
