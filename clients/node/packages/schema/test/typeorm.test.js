'use strict';
require('reflect-metadata');
const assert = require('node:assert/strict');
const { mkdirSync, readdirSync, readFileSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { randomUUID } = require('node:crypto');
const { test } = require('node:test');
const { DataSource } = require('typeorm');
const { url, folder, pool, emit, compile, run, writer, outboxNow } = require('./support.js');

test('TypeORM', async () => {
  // The application, as it was before it had an outbox.
  writeFileSync(join(folder, 'order.entity.ts'), `
import { EntitySchema } from 'typeorm';
export const Order = new EntitySchema<{ id: string; total?: string }>({ name: 'Order', tableName: 'orders', columns: { id: { type: 'text', primary: true } } });
`);
  mkdirSync(join(folder, 'migrations'), { recursive: true });
  writeFileSync(join(folder, 'migrations', '1700000000000-Orders.ts'), `
import type { MigrationInterface, QueryRunner } from 'typeorm';
export class Orders1700000000000 implements MigrationInterface {
  async up(queryRunner: QueryRunner): Promise<void> { await queryRunner.query('create table orders (id text constraint "PK_710e2d4957aa5878dfe94e4ac2f" primary key)'); }
  async down(queryRunner: QueryRunner): Promise<void> { await queryRunner.query('drop table orders'); }
}
`);
  writeFileSync(join(folder, 'data-source.ts'), `
import { DataSource } from 'typeorm';
import { Order } from './order.entity.js';
import { OutboxEvent } from './outbox-event.entity.js';
export default new DataSource({
  type: 'postgres', url: process.env['DATABASE_URL']!, entities: [Order, OutboxEvent], migrations: [__dirname + '/migrations/*.js'],
});
`);
  const dist = compile('data-source.ts', ...readdirSync(join(folder, 'migrations')).map((name) => `migrations/${name}`));
  const cli = (...args) => run('typeorm/cli.js', ...args, '-d', join(dist, 'data-source.js'));
  cli('migration:run');
  assert.deepEqual((await pool.query('select name from public.migrations order by id')).rows.map(({ name }) => name.slice(0, 10)), ['Orders1700', 'RelayOutbo']);
  const before = await outboxNow();
  assert.ok(before.length > 20);

  const dataSource = await require(join(dist, 'data-source.js')).default.initialize();
  await dataSource.transaction((em) => emit(em));
  await dataSource.destroy();

  // With the entity, and as a role that may insert and nothing else.
  const { OutboxEvent } = require(join(dist, 'outbox-event.entity.js'));
  const { Order } = require(join(dist, 'order.entity.js'));
  const narrow = await new DataSource({ type: 'postgres', url: await writer(), entities: [OutboxEvent] }).initialize();
  const headers = { tenant: 'acme' };
  const event = { id: randomUUID(), topic: 'orders', key: '1', type: 'Model', payload: { by: 'entity' }, headers, partition: 1, deliverAt: new Date('2031-01-01') };
  await narrow.transaction(async (em) => {
    await em.insert(OutboxEvent, event);
    await em.insert(OutboxEvent, { id: randomUUID(), topic: 'orders', type: 'Bytes', payloadBytes: Buffer.from([0, 1]) });
  });
  await narrow.destroy();
  const { rows } = await pool.query(`select payload::text, payload_bytes, headers, partition, deliver_at from outbox.events where type <> 'Emitted' order by seq`);
  assert.deepEqual(rows, [
    { payload: '{"by":"entity"}', payload_bytes: null, headers, partition: 1, deliver_at: event.deliverAt },
    { payload: null, payload_bytes: Buffer.from([0, 1]), headers: null, partition: null, deliver_at: null },
  ]);

  // A change of the application's own: the migration that is made of it has that, and nothing of the outbox.
  const changed = readFileSync(join(folder, 'order.entity.ts'), 'utf8').replace(`primary: true }`, `primary: true }, total: { type: 'text', nullable: true }`);
  writeFileSync(join(folder, 'order.entity.ts'), changed);
  compile('data-source.ts', 'order.entity.ts');
  cli('migration:generate', join(folder, 'generated', 'Total'));
  const [made] = readdirSync(join(folder, 'generated'));
  const statements = [...readFileSync(join(folder, 'generated', made), 'utf8').matchAll(/query\(`(.*)`\)/g)].map((found) => found[1]);
  assert.deepEqual(statements, ['ALTER TABLE "orders" ADD "total" text', 'ALTER TABLE "orders" DROP COLUMN "total"']);

  const synchronized = await new DataSource({ type: 'postgres', url, entities: [Order, OutboxEvent], synchronize: true }).initialize();
  await synchronized.destroy();
  assert.deepEqual(await outboxNow(), before);

  // Undoing the last migration forgets it, and keeps the events; running it again is fine.
  cli('migration:revert');
  assert.deepEqual(await outboxNow(), before);
  cli('migration:run');

  // What the file says about schema:drop: without the entity it leaves the outbox.
  const dropping = await new DataSource({ type: 'postgres', url, entities: [Order], dropSchema: true }).initialize();
  await dropping.destroy();
  assert.deepEqual(await outboxNow(), before);
});
