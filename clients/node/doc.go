// Package node runs the tests of the npm packages in this folder, with a PostgreSQL that has the outbox in it. There is
// no Go code here beside them.
//
// `go test ./clients/node` installs the packages' dependencies into node_modules if they are not there, builds the
// packages and runs their tests with DATABASE_URL, WRITER_URL (a role that may insert events and nothing else) and
// KAFKA_BROKERS (a stand-in); -run TestPackages/core runs those of one. TestSchema tries `relay schema` with the tools that
// it is for. With -short nothing of that runs.
package node
