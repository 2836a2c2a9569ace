// Package node runs the tests of the npm packages in this folder, with a PostgreSQL that has the outbox in it. There is
// no Go code here beside them.
//
// `go test ./clients/node` installs the packages' dependencies into node_modules if they are not there, builds the
// packages and runs `npm test` with DATABASE_URL. With -short it does nothing.
package node
