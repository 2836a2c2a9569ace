// Package toolschema writes the outbox's migrations the way other migration tools want them, so that a team which runs
// TypeORM's, Prisma's, Drizzle's, Knex's or MikroORM's migrations, or plain SQL files, has ours in the same chain, and
// none of these tools takes the schema for drift.
//
// The promise of the text: it can be applied to an empty or an older schema, and again; it does not need a transaction
// around it and works in one; afterwards search_path is what it was, so that the tool finds its own tables; and
// `relay migrate status` knows that it was applied, because each migration records itself.
//
// What it does not promise: a way back. Migrations go forward only.
//
// clients/node/schema_test.go applies each file with the tool it is for, on a real PostgreSQL.
package toolschema
