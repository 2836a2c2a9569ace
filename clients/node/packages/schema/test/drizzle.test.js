'use strict';
const assert = require('node:assert/strict');
const { readdirSync, readFileSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { test } = require('node:test');
const { drizzle } = require('drizzle-orm/node-postgres');
const { migrate } = require('drizzle-orm/node-postgres/migrator');
const { Pool } = require('pg');
const { url, folder, pool, emit, compile, run, writer, outboxNow } = require('./support.js');

const kit = (...args) => run('drizzle-kit/bin.cjs', ...args, '--config', 'drizzle.config.ts');

test('Drizzle', async () => {
  const [printed] = readdirSync(join(folder, 'drizzle'));
  const sql = readFileSync(join(folder, 'drizzle', printed), 'utf8');
  writeFileSync(join(folder, 'drizzle.config.ts'), `
import { defineConfig } from 'drizzle-kit';
export default defineConfig({
  dialect: 'postgresql', schema: './orders.ts', out: './migrations', schemaFilter: ['public'], dbCredentials: { url: process.env['DATABASE_URL']! },
});
`);
  const table = (more) => writeFileSync(join(folder, 'orders.ts'), `
import { pgTable, text } from 'drizzle-orm/pg-core';
export const orders = pgTable('orders', { id: text('id').primaryKey(), ${more} });
`);
  table('');
  kit('generate', '--name', 'orders');
  kit('generate', '--custom', '--name', printed.replace('.sql', ''));
  const files = () => readdirSync(join(folder, 'migrations')).filter((name) => name.endsWith('.sql')).sort();
  assert.deepEqual(files(), ['0000_orders.sql', `0001_${printed}`]);
  writeFileSync(join(folder, 'migrations', `0001_${printed}`), sql);

  const apply = async () => {
    kit('migrate');
    const its = new Pool({ connectionString: url });
    await migrate(drizzle(its), { migrationsFolder: join(folder, 'migrations') }); // the other way to run them
    await its.end();
  };
  await apply();
  const before = await outboxNow();
  assert.ok(before.length > 20);
  assert.equal((await pool.query('select count(*)::int as n from drizzle.__drizzle_migrations')).rows[0].n, 2);
  await drizzle(pool).transaction((tx) => emit(tx));

  const { outboxEvents } = require(join(compile('outbox-event.table.ts'), 'outbox-event.table.js'));
  const narrow = new Pool({ connectionString: await writer() });
  const event = { topic: 'orders', key: '1', type: 'Model', payload: { by: 'table' }, headers: { tenant: 'acme' }, partition: 1, deliverAt: new Date('2031-01-01') };
  await drizzle(narrow).transaction(async (tx) => {
    await tx.insert(outboxEvents).values(event);
    await tx.insert(outboxEvents).values({ topic: 'orders', type: 'Bytes', payloadBytes: Buffer.from([0, 1]) });
  });
  await narrow.end();
  const { rows } = await pool.query(`select payload::text, payload_bytes, headers, partition, deliver_at from outbox.events where type <> 'Emitted' order by seq`);
  assert.deepEqual(rows, [
    { payload: '{"by":"table"}', payload_bytes: null, headers: { tenant: 'acme' }, partition: 1, deliver_at: event.deliverAt },
    { payload: null, payload_bytes: Buffer.from([0, 1]), headers: null, partition: null, deliver_at: null },
  ]);

  // A change of the application's own: that alone is generated, and pushed.
  table(`total: text('total')`);
  kit('generate', '--name', 'total');
  assert.equal(readFileSync(join(folder, 'migrations', '0002_total.sql'), 'utf8').trim(), 'ALTER TABLE "orders" ADD COLUMN "total" text;');
  await apply();
  table(`total: text('total'), note: text('note')`);
  kit('push', '--force');
  assert.equal((await pool.query(`select count(*)::int as n from information_schema.columns where table_name = 'orders'`)).rows[0].n, 3);
  assert.deepEqual(await outboxNow(), before);
});
