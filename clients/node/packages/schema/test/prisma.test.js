'use strict';
const assert = require('node:assert/strict');
const { readdirSync, readFileSync } = require('node:fs');
const { dirname, join } = require('node:path');
const { test } = require('node:test');
const { PrismaPg } = require('@prisma/adapter-pg');
const { bindMigrationAwareSqlAdapterFactory } = require('@prisma/driver-adapter-utils');
const { url, folder, pool, emit, outboxNow } = require('./support.js');

// In parts, because the adapter names another database for the shadow, and a whole URL would win over that. Idle
// connections end at once, because the shadow cannot be dropped while one is open.
const { hostname: host, port, username: user, pathname } = new URL(url);
const place = { host, port: Number(port), user, database: pathname.slice(1), idleTimeoutMillis: 1 };

// Prisma's CLI downloads its schema engine as a program. The same engine is in its npm package as WebAssembly, and is
// called here as the CLI calls it.
async function openEngine() {
  const home = dirname(require.resolve('@prisma/schema-engine-wasm/schema_engine_bg'));
  const glue = await import(join(home, 'schema_engine_bg.js'));
  const { instance } = await WebAssembly.instantiate(readFileSync(join(home, 'schema_engine_bg.wasm')), { './schema_engine_bg.js': glue });
  glue.__wbg_set_wasm(instance.exports);
  instance.exports.__wbindgen_start();
  return (schema) => glue.SchemaEngine.new({ datamodels: [['schema.prisma', schema]] }, () => {}, bindMigrationAwareSqlAdapterFactory(new WholeScripts(place)));
}

/**
 * Two things that the adapter does not do by itself, and the engine's program does: it sends a script as it is, where the
 * adapter cuts it at each semicolon; and it reads the catalog's type "char" (18), which goes as text (25) here.
 */
class WholeScripts extends PrismaPg {
  async connect() { return whole(await super.connect()); }
  async connectToShadowDb() { return whole(await super.connectToShadowDb()); }
}
function whole(adapter) {
  adapter.executeScript = async (script) => void (await adapter.underlyingDriver().query(script));
  const { performIO } = adapter;
  adapter.performIO = async (query) => {
    const result = await performIO.call(adapter, query);
    for (const field of result.fields) if (field.dataTypeID === 18) field.dataTypeID = 25;
    return result;
  };
  return adapter;
}

const datamodel = (more = '') => `
generator client {
  provider = "prisma-client"
}
datasource db {
  provider = "postgresql"
}
model orders {
  id String @id
  ${more}
}
`;
const filters = { externalTables: [], externalEnums: [] };

test('Prisma', async () => {
  const engineFor = await openEngine();
  const schemas = (content) => ({ files: [{ path: 'schema.prisma', content }] });
  const home = join(folder, 'prisma', 'migrations');
  const directory = (path, content) => ({ path, migrationFile: { path: 'migration.sql', content: { tag: 'ok', value: content } } });
  const [printed] = readdirSync(home);
  const migrationDirectories = [
    directory('20200101000000_orders', 'create table orders (id text not null, constraint orders_pkey primary key (id));'),
    directory(printed, readFileSync(join(home, printed, 'migration.sql'), 'utf8')),
  ];
  const migrationsList = { baseDir: home, lockfile: { path: 'migration_lock.toml', content: 'provider = "postgresql"\n' }, shadowDbInitScript: '', migrationDirectories };

  // migrate deploy
  const engine = await engineFor(datamodel());
  assert.deepEqual((await engine.applyMigrations({ migrationsList, filters })).appliedMigrationNames, ['20200101000000_orders', printed]);
  const before = await outboxNow();
  assert.ok(before.length > 20);

  const client = await pool.connect();
  await client.query('begin');
  await emit(client); // packages/core tries Prisma's own handle
  await client.query('commit');
  client.release();

  // migrate dev: it replays the migrations in a shadow database and asks for a reset if they and the database differ.
  const dev = await engine.devDiagnostic({ migrationsList, filters });
  assert.deepEqual(dev.action, { tag: 'createMigration' });
  const drift = await engine.diagnoseMigrationHistory({ migrationsList, optInToShadowDatabase: true, filters });
  assert.equal(drift.history, null);
  // db push, which compares with the database itself, for a change of the application's own
  const push = async (content, force) => (await engineFor(content)).schemaPush({ force, schema: schemas(content), filters });
  assert.deepEqual(await push(datamodel(), true), { executedSteps: 0, unexecutable: [], warnings: [] });
  assert.deepEqual(await push(datamodel('total String?'), true), { executedSteps: 1, unexecutable: [], warnings: [] });
  assert.deepEqual(await outboxNow(), before);
});
