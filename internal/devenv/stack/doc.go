// Command stack runs PostgreSQL, a real Apache Kafka and relays for tests that are not written in Go.
//
//	go run ./internal/devenv/stack -relay orders -relay zipped=gzip -topic orders=4
//
// Each -relay NAME[=COMPRESSION] is a database of that name with the outbox in it and a relay that publishes it; each
// -topic NAME[=PARTITIONS] is a topic. When all of it answers, one line of JSON is printed:
//
//	{"brokers": ["127.0.0.1:…"], "databases": {"orders": "postgres://…", "zipped": "postgres://…"}}
//
// It works from within this repository, and builds the relay first.
//
// The promise: when standard input closes, or the program ends in any other way, every server ends and every folder
// is removed (see package process). It does not promise anything to survive: fsync is off.
package main
