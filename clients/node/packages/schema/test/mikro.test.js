'use strict';
const assert = require('node:assert/strict');
const { readdirSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { test } = require('node:test');
const { MikroORM, EntitySchema } = require('@mikro-orm/postgresql');
const { Migrator } = require('@mikro-orm/migrations');
const { url, folder, pool, emit, compile, outboxNow } = require('./support.js');

const orders = (more = {}) => new EntitySchema({ name: 'Order', tableName: 'orders', properties: { id: { type: 'text', primary: true }, ...more } });
const ignoring = { ignoreSchema: ['outbox'] };

test('MikroORM', async () => {
  const [migration] = readdirSync(join(folder, 'migrations'));
  writeFileSync(join(folder, 'migrations', 'Migration20200101000000.ts'), `
import { Migration } from '@mikro-orm/migrations';
export class Migration20200101000000 extends Migration {
  override up(): void { this.addSql('create table "orders" ("id" text not null, primary key ("id"))'); }
}
`);
  const dist = compile(`migrations/${migration}`, 'migrations/Migration20200101000000.ts');
  const migrations = ['Migration20200101000000', migration.replace('.ts', '')].map((name) => ({ name, class: require(join(dist, 'migrations', `${name}.js`))[name] }));
  const open = (entities, schemaGenerator) => MikroORM.init({
    clientUrl: url, dbName: new URL(url).pathname.slice(1), entities, schemaGenerator, extensions: [Migrator],
    // Listed, because this version of MikroORM reads folders with what only Node 22 has; and why migrator.create is not
    // called below: it asks the comparison that is asked here, and writes the answer to a file.
    migrations: { snapshot: false, migrationsList: migrations },
  });

  const orm = await open([orders()], ignoring);
  const applied = await orm.migrator.up();
  assert.deepEqual(applied.map(({ name }) => name), migrations.map(({ name }) => name));
  const before = await outboxNow();
  assert.ok(before.length > 20);
  await orm.em.fork().transactional((em) => emit(em));

  // A change of the application's own: that alone is what the comparison finds and what the update does.
  const difference = async (of) => (await of.schema.getUpdateSchemaSQL()).replace("set names 'utf8';", '').trim();
  assert.equal(await difference(orm), '');
  await orm.close();
  const changed = await open([orders({ total: { type: 'text', nullable: true } })], ignoring);
  assert.equal(await difference(changed), 'alter table "orders" add "total" text null;');
  await changed.schema.update();
  await changed.close();
  assert.deepEqual(await outboxNow(), before);

  // And that the setting is what keeps it: without it the outbox would go.
  const careless = await open([orders()], {});
  assert.match(await difference(careless), /drop schema if exists "outbox"|drop table if exists "outbox"/);
  await careless.close();
});
