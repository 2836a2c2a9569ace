// Package docs tries what the documentation shows. There is no code here beside tests.
//
// Each page of README.md and docs/*.md is played from top to bottom, as its reader would: a database with the outbox in
// it, a broker, an empty folder, and then every fenced block in its order.
//
//	sql             psql, stopping at the first error; so is a comment <!-- setup … -->, which readers do not see
//	go              a complete program: compiled, then run with DATABASE_URL
//	js              node, with pg installed, and DATABASE_URL
//	toml            decoded as a configuration; one whose first line is "# relay.toml" becomes the page's relay.toml
//	sh, console     each command; of a console only lines that begin with "$ ", the others are what it prints
//	json, yaml      decoded
//	none, text, mermaid    not run: output and pictures
//
// A command line runs if all of its programs are known to be harmless (relay, psql and the shell's own), and `relay run`
// runs in the background until the page ends. Any other has to be listed in unrun_test.go with the reason; one that is
// neither run nor listed fails the test. A block with the word "illustration" after its language is not run: keep those
// rare, the reader cannot know either. Addresses of PostgreSQL and Kafka in commands and files are replaced by those of
// the test's servers; nothing else is.
//
// The pages are also read: links and files that are not there, commands and flags that relay does not have, and keys,
// variables and tables that do not exist fail the test.
//
// The TypeScript of docs/node and docs/nestjs is compiled and run by the tests of the packages (clients/node).
//
// With -short only what needs PostgreSQL runs: sql, toml, json, yaml, links and names.
package docs
