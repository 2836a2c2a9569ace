'use strict';
// docs/node: each page's TypeScript is compiled as the files that its first lines name; then its tests and its programs
// are run. A file that is neither has to be imported by one of these.
const assert = require('node:assert/strict');
const { execFile, spawn } = require('node:child_process');
const { once } = require('node:events');
const { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } = require('node:fs');
const path = require('node:path');
const { before, describe, test } = require('node:test');
const { promisify } = require('node:util');
const { Kafka, logLevel } = require('kafkajs');
const { newId } = require('@outboxrelay/core');
const { openPool } = require('./database.js');

const run = promisify(execFile);
const pages = path.join(__dirname, '../../../../../docs/node');
const to = path.join(__dirname, '../.generated/docs');
const pool = openPool();
// The runner that runs this file must not make the reader's tests report to it.
const { NODE_TEST_CONTEXT: _, ...env } = process.env;

/** Writes a page's blocks to files and returns their names and texts. */
function write(page) {
  const files = [];
  for (const [, code] of readFileSync(path.join(pages, `${page}.md`), 'utf8').matchAll(/^```(?:ts|js)\n([\s\S]*?)^```$/gm)) {
    const name = /^\/\/ ([\w.-]+\.ts)\n/.exec(code)?.[1];
    assert.ok(name, `${page}.md: a block of code has to begin with a comment that names its file`);
    mkdirSync(path.join(to, page), { recursive: true });
    writeFileSync(path.join(to, page, name), code);
    files.push({ name, code, program: /^void main\(\);$/m.test(code), test: name.endsWith('.test.ts') });
  }
  return files;
}

const node = (page, file, ...options) =>
  run(process.execPath, [...options, path.join(to, page, file.name.replace(/\.ts$/, '.js'))], { env, timeout: 60_000 }).catch((error) => assert.fail(`${page}.md, ${file.name}:\n${error.stdout}${error.stderr}`));

describe('docs/node', () => {
  const written = {};

  before(async () => {
    rmSync(to, { recursive: true, force: true });
    for (const page of readdirSync(pages).map((file) => file.replace('.md', ''))) written[page] = write(page);
    // What `prisma generate` makes of the reader's schema.
    cpSync(path.join(__dirname, '../.generated/prisma-ts'), path.join(to, 'clients/generated/prisma'), { recursive: true });
    const compilerOptions = { rootDir: '.', outDir: '.', lib: ['es2023', 'dom'], module: 'nodenext', moduleResolution: 'nodenext', declaration: false, noUnusedLocals: false };
    writeFileSync(path.join(to, 'tsconfig.json'), JSON.stringify({ extends: '../../../../tsconfig.base.json', compilerOptions, include: ['.'], exclude: [] }));
    await run(process.execPath, [path.join(__dirname, '../../../node_modules/typescript/bin/tsc'), '-p', to]).catch((error) => assert.fail(error.stdout));
    await pool.query('create table orders (id text primary key, total text not null); create table invoices (order_id text not null, total text not null)');
  });

  test('each block is run', async () => {
    let ran = 0;
    for (const [page, files] of Object.entries(written)) {
      for (const file of files) {
        if (file.test) await node(page, file, '--test');
        else if (file.program && !file.code.includes('kafka')) await node(page, file);
        else if (!file.program) assert.ok(files.some(({ code }) => code.includes(`'./${file.name.replace('.ts', '')}'`)), `${page}.md: nobody runs ${file.name}`);
        ran += 1;
      }
    }
    assert.ok(ran >= 18, `${ran} blocks`);
  });

  test('each client has written its order and its event', async () => {
    const names = ['drizzle', 'knex', 'kysely', 'mikro-orm', 'node-postgres', 'prisma', 'typeorm', 'typeorm-runner'];
    const { rows } = await pool.query(`
select o.id from orders o join outbox.events e on e.key = o.id and e.type = 'OrderPlaced' and e.payload->>'total' = o.total
 where o.id = any($1) order by o.id`, [names]);
    assert.deepEqual(rows.map(({ id }) => id), names);
  });

  // The page's whole consumer, on a broker. It must handle a copy once, and end when it is told to.
  test('the consumer of consuming.md consumes', async (t) => {
    const brokers = process.env.KAFKA_BROKERS;
    assert.ok(brokers, 'KAFKA_BROKERS is not set: go test ./clients/node brings a broker');
    const kafka = new Kafka({ brokers: brokers.split(','), logLevel: logLevel.NOTHING });
    const producer = kafka.producer();
    const admin = kafka.admin();
    await Promise.all([producer.connect(), admin.connect()]);
    t.after(() => Promise.all([producer.disconnect(), admin.disconnect()]));
    const records = ['a', 'b', 'a'].map((id) => ({ key: id, value: JSON.stringify({ id: `kafka-${id}`, total: '1.00' }), headers: { id: `id of ${id}`, type: 'OrderPlaced' } }));
    await producer.send({ topic: 'orders', messages: [...records, { key: 'x', value: '{}', headers: { id: newId(), type: 'SomethingElse' } }, { key: 'a', value: null, headers: { id: newId(), type: 'OrderPlaced' } }] });
    const consumer = spawn(process.execPath, [path.join(to, 'consuming/main.js')], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    try {
      const offsets = async () => {
        const [{ partitions }] = await admin.fetchOffsets({ groupId: 'billing', topics: ['orders'] }).catch((error) => {
          if (error.type === 'GROUP_ID_NOT_FOUND') return [{ partitions: [] }]; // it has not joined yet
          throw error;
        });
        return partitions.reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0);
      };
      const deadline = Date.now() + 60_000;
      while (await offsets() < 5) {
        assert.equal(consumer.exitCode, null, 'the consumer ended by itself');
        assert.ok(Date.now() < deadline, 'the consumer has not read the topic within a minute');
        await new Promise((done) => setTimeout(done, 200));
      }
      const ended = once(consumer, 'exit');
      consumer.kill('SIGTERM');
      assert.deepEqual(await ended, [0, null]);
    } finally {
      consumer.kill('SIGKILL');
    }
    const { rows } = await pool.query(`select order_id from invoices where order_id like 'kafka-%' order by 1`);
    assert.deepEqual(rows, [{ order_id: 'kafka-a' }, { order_id: 'kafka-b' }]);
  });

  test('the errors of troubleshooting.md are written somewhere', () => {
    const sources = path.join(__dirname, '../src');
    const source = readdirSync(sources).map((file) => readFileSync(path.join(sources, file), 'utf8')).join('\n');
    const [ours] = readFileSync(path.join(pages, 'troubleshooting.md'), 'utf8').split('From the database and the clients:');
    const quoted = [...ours.matchAll(/^\| (`.*?`) \|/gm)].flatMap(([, cell]) => [...cell.matchAll(/`([^`]+)`/g)].map(([, text]) => text));
    assert.ok(quoted.length > 20, `${quoted.length} texts`);
    // A text of the page may be made of two: a field's name and what is wrong with it.
    const missing = quoted.filter((text) => !source.includes(text) && !source.includes(text.replace(/^payload /, '')));
    assert.deepEqual(missing, []);
  });
});
