'use strict';
const assert = require('node:assert/strict');
const { writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { test } = require('node:test');
const { url, folder, pool, emit, run, outboxNow } = require('./support.js');

// Knex compares nothing with the database: there is no diff that could touch the outbox.
test('Knex', async () => {
  const knexfile = { client: 'pg', connection: url, searchPath: ['app', 'public'], migrations: { directory: './migrations' } };
  writeFileSync(join(folder, 'knexfile.js'), `module.exports = ${JSON.stringify(knexfile)};\n`);
  writeFileSync(join(folder, 'migrations', '20200101000000_orders.js'), `
exports.up = (knex) => knex.schema.createTable('orders', (table) => table.text('id').primary());
exports.down = (knex) => knex.schema.dropTable('orders');
`);
  writeFileSync(join(folder, 'migrations', '99990101000000_total.js'), `
exports.up = (knex) => knex.schema.alterTable('orders', (table) => table.text('total'));
exports.down = (knex) => knex.schema.alterTable('orders', (table) => table.dropColumn('total'));
`);
  await pool.query('create schema app');
  run('knex/bin/cli.js', 'migrate:latest');
  const { rows } = await pool.query('select name from app.knex_migrations order by id');
  assert.equal(rows.length, 3);
  assert.match(rows[1].name, /^\d{14}_relay_outbox_\d{4}\.js$/);
  const before = await outboxNow();
  assert.ok(before.length > 20);

  const db = require('knex')(knexfile);
  await db.transaction((trx) => emit(trx));
  // What the file relies on: a question mark behind a backslash is no placeholder.
  assert.equal((await db.raw(String.raw`select '\?' as mark`)).rows[0].mark, '?');
  await db.destroy();

  // Back and forth: the events stay.
  run('knex/bin/cli.js', 'migrate:rollback', '--all');
  assert.equal((await pool.query(`select to_regclass('app.orders') as orders`)).rows[0].orders, null);
  assert.deepEqual(await outboxNow(), before);
  run('knex/bin/cli.js', 'migrate:latest');
  assert.deepEqual(await outboxNow(), before);
});
