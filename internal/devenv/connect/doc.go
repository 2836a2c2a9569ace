// Package connect runs a worker of Kafka Connect with Debezium's connector for PostgreSQL in it, to measure and to
// compare the relay with what most people would use instead.
//
// [Start] runs one distributed worker: only that kind can deliver exactly once. Maven brings the jars into a cache
// folder, once for the machine's user; [Present] says whether it has. Connectors are created, halted and deleted by
// Connect's REST interface. The worker never outlives the program that started it (package process).
//
// The Kafka that it works on must let topics be created, which the worker does by itself: for its own state and for
// each topic that a connector writes to and that is not there. PostgreSQL has to run with wal_level = logical.
//
// What is not promised: that a connector that runs has anything to do yet. Debezium says "running" before its slot is
// there.
package connect
