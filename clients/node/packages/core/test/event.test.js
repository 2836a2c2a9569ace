'use strict';
const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const path = require('node:path');
const { describe, test } = require('node:test');
const core = require('@outboxrelay/core');
const { openPool, newClient, transaction } = require('./database.js');

const { createOutbox, defineEvent, newId, readRecord, tombstone, withInbox } = core;
const outbox = createOutbox();
const pool = openPool();
const Plain = defineEvent()({ topic: 'plain', type: 'Plain', key: () => 'k' });

async function stored(ids) {
  const columns = 'id, topic, key, type, payload::text, payload_bytes, headers, partition, deliver_at';
  return (await pool.query(`select ${columns} from outbox.events where id = any($1) order by seq`, [ids])).rows;
}
const emit = (...args) => transaction(pool, (client) => outbox.emit(client, ...args));

/** Nothing may be written by a refused call, and the transaction has to be usable after it. */
async function refuses(call, error, pattern) {
  await transaction(pool, async (client) => {
    const count = async () => (await client.query('select count(*) from outbox.events where xid = pg_current_xact_id()')).rows[0].count;
    await assert.rejects(call(client), (thrown) => {
      assert.ok(thrown instanceof error, `${thrown.stack}`);
      assert.match(thrown.message, pattern);
      return true;
    });
    assert.equal(await count(), '0');
  });
}

describe('what is stored', () => {
  test('all columns', async () => {
    const id = newId();
    const deliverAt = new Date('2031-02-03T04:05:06.789Z');
    assert.deepEqual(await emit(Plain, { a: 1 }, { id, deliverAt, partition: 3, headers: { tenant: 'acme', none: undefined } }), [id]);
    assert.deepEqual(await stored([id]), [{
      id, topic: 'plain', key: 'k', type: 'Plain', payload: '{"a":1}', payload_bytes: null, headers: { tenant: 'acme' }, partition: 3, deliver_at: deliverAt,
    }]);
  });

  test('an array is an event each, in their order', async () => {
    const payloads = Array.from({ length: 500 }, (_, n) => ({ n }));
    const ids = await emit(Plain, payloads);
    const rows = await stored(ids);
    assert.deepEqual(rows.map((row) => JSON.parse(row.payload).n), payloads.map((payload) => payload.n));
    assert.deepEqual(rows.map((row) => row.id), ids);
    assert.deepEqual(await emit(Plain, []), []);
  });

  test('an array within an array is one payload', async () => {
    assert.equal((await stored(await emit(Plain, [[1, 2]])))[0].payload, '[1,2]');
  });

  test('bytes go as they are, a tombstone is null in both columns, null is JSON', async () => {
    const bytes = Buffer.from([0, 0xff, 0x80, 0x0a]);
    const ids = await transaction(pool, (client) => outbox.insert(client,
      { topic: 'raw', payload: bytes }, { topic: 'raw', payload: bytes.subarray(1, 3) }, { topic: 'raw', payload: tombstone }, { topic: 'raw', payload: null }, { topic: 'raw', payload: Buffer.alloc(0) }));
    assert.deepEqual((await stored(ids)).map((row) => [row.payload, row.payload_bytes]), [
      [null, bytes], [null, bytes.subarray(1, 3)], [null, null], ['null', null], [null, Buffer.alloc(0)],
    ]);
  });

  test('dates, BigInts and bytes within', async () => {
    const payload = { at: new Date(0), big: -(2n ** 70n), bytes: Buffer.from('hi'), gone: undefined };
    assert.equal((await stored(await emit(Plain, payload)))[0].payload, '{"at":"1970-01-01T00:00:00.000Z","big":"-1180591620717411303424","bytes":"aGk="}');
  });

  test('a schema with a name that needs quotes', async () => {
    const client = await newClient();
    await client.query('begin');
    await client.query('create schema "odd "" name"');
    await client.query('create table "odd "" name".events (like outbox.events including defaults)');
    await createOutbox({ schema: 'odd " name' }).emit(client, Plain, 1);
    assert.equal((await client.query('select count(*)::int as n from "odd "" name".events')).rows[0].n, 1);
    await client.query('rollback');
  });

  test('outside a transaction where that was asked for', async () => {
    assert.equal((await stored(await createOutbox({ requireTransaction: false }).emit(pool, Plain, 1))).length, 1);
  });
});

describe('what is refused, before anything is written', () => {
  const invalid = core.OutboxInvalidEventError;
  const cases = {
    'no payload': [{ payload: undefined }, /payload is missing/],
    'a Map': [{ payload: { m: new Map() } }, /payload holds a Map at "m"/],
    'NaN': [{ payload: { n: [NaN] } }, /payload holds NaN/],
    'an invalid Date': [{ payload: { d: new Date(NaN) } }, /invalid Date/],
    'a function': [{ payload: { f() {} } }, /a function/],
    'no topic': [{ topic: '' }, /topic is missing/],
    'a topic with a space': [{ topic: 'a b' }, /topic "a b" is refused/],
    'a long topic': [{ topic: 'x'.repeat(250) }, /249/],
    'NUL in the key': [{ key: 'a\0' }, /key contains a zero byte/],
    'half a surrogate pair in the key': [{ key: '\ud800' }, /key contains half a surrogate pair/],
    'a key that is no text': [{ key: 7 }, /key is a number/],
    'NUL in the type': [{ type: '\0' }, /type contains a zero byte/],
    'a header of the relay': [{ headers: { id: 'x' } }, /headers\["id"\] is written by the relay/],
    'a header that is no text': [{ headers: { n: 1 } }, /headers\["n"\] is a number/],
    'half a surrogate pair in a header': [{ headers: { n: '\udc00' } }, /half a surrogate/],
    'an id that is no UUID': [{ id: '7' }, /id is not a UUID/],
    'a negative partition': [{ partition: -1 }, /partition/],
    'a partition that is no integer': [{ partition: 1.5 }, /partition/],
    'an invalid deliverAt': [{ deliverAt: new Date(NaN) }, /deliverAt/],
    'a record that is too large': [{ payload: 'x'.repeat(1048588) }, /too large: the record has 10\d+ bytes/],
  };
  for (const [name, [event, pattern]] of Object.entries(cases)) {
    test(name, () => refuses((tx) => outbox.insert(tx, { topic: 'fine', payload: 1 }, { topic: 't', payload: 1, ...event }), invalid, pattern));
  }

  test('the fault says which event, and all faults are told', () =>
    refuses((tx) => outbox.insert(tx, { topic: '', payload: 1 }, { topic: 't', payload: undefined }), invalid, /event 0: topic is missing; event 1: payload is missing/));
  test('an id twice', () => {
    const id = newId();
    return refuses((tx) => outbox.insert(tx, { topic: 't', payload: 1, id }, { topic: 't', payload: 1, id: id.toUpperCase() }), invalid, /that of event 0 too/);
  });
  test('one id for two events', () => refuses((tx) => outbox.emit(tx, Plain, [1, 2], { id: newId() }), invalid, /given for 2 events/));
  test('a tombstone without a key', () => refuses((tx) => outbox.emit(tx, Plain, tombstone), invalid, /key is missing/));

  test('handles that are none', async () => {
    for (const handle of [undefined, null, 'tx', {}, () => {}, 7]) {
      await assert.rejects(outbox.emit(handle, Plain, 1), { name: 'OutboxTransactionRequiredError', message: /pass a node-postgres client/ });
    }
    const client = await newClient();
    await assert.rejects(outbox.emit(client, Plain, 1), { name: 'OutboxTransactionRequiredError', message: /await client.query\("begin"\) first/ });
    await client.query('begin');
    await client.query('commit');
    await assert.rejects(outbox.emit(client, Plain, 1), { name: 'OutboxTransactionRequiredError' });
  });
});

describe('schemas', () => {
  const schemas = {
    zod: () => { const { z } = require('zod'); return z.object({ id: z.string(), total: z.string() }); },
    valibot: () => { const v = require('valibot'); return v.object({ id: v.string(), total: v.string() }); },
    arktype: () => require('arktype').type({ id: 'string', total: 'string' }),
  };
  for (const [name, make] of Object.entries(schemas)) {
    test(name, async () => {
      const Order = defineEvent({ topic: 'orders', type: 'Order', key: (e) => e.id, schema: make() });
      const good = { id: '1', total: '9.90' };
      assert.equal((await stored(await emit(Order, good)))[0].payload, JSON.stringify(good));
      assert.deepEqual(await Order.parse(Buffer.from(JSON.stringify(good))), good);
      await refuses((tx) => outbox.emit(tx, Order, { id: '1', total: 666 }), core.OutboxSchemaError, /^Order: the payload does not match the schema at total$/);
      await assert.rejects(Order.parse('{"id":"1"}'), core.OutboxSchemaError);
    });
  }

  test('a schema that throws refuses, also beside one that takes its time', async () => {
    const validate = (n) => { if (n === 1) throw new TypeError('no schema of ours'); return Promise.resolve({ issues: [{ message: 'no' }] }); };
    const Odd = defineEvent({ topic: 'odd', schema: { '~standard': { version: 1, vendor: 'test', validate } } });
    await refuses((tx) => outbox.emit(tx, Odd, 1), TypeError, /no schema of ours/);
    await refuses((tx) => outbox.emit(tx, Odd, 2), core.OutboxSchemaError, /does not match/);
    await refuses((tx) => outbox.emit(tx, Odd, [2, 1]), Error, /./); // and no rejection is left over, which would end this process
  });

  test('the values are not in the error, however it is printed', async () => {
    const v = require('valibot');
    const Order = defineEvent({ topic: 'orders', schema: v.object({ card: v.string() }) });
    await assert.rejects(Order.validate({ card: 4111111111111111 }), (error) => {
      assert.ok(error.issues.length === 1);
      assert.doesNotMatch(require('node:util').inspect(error) + JSON.stringify(error), /4111/);
      return true;
    });
  });
});

describe('errors of the database', () => {
  test('a missing table has its cure', () => transaction(pool, async (client) => {
    await client.query('savepoint s');
    await assert.rejects(createOutbox({ schema: 'nowhere' }).emit(client, Plain, 1), { name: 'OutboxWriteError', message: /relay migrate up/ });
    await client.query('rollback to savepoint s');
  }));

  test('rows that a trigger drops are missed', async () => {
    const client = await newClient();
    await client.query('begin');
    await client.query('create schema dropping');
    await client.query('create table dropping.events (like outbox.events including defaults)');
    await client.query('create function dropping.nothing() returns trigger language plpgsql as $$ begin return null; end $$');
    await client.query('create trigger t before insert on dropping.events for each row execute function dropping.nothing()');
    await assert.rejects(createOutbox({ schema: 'dropping' }).emit(client, Plain, [1, 2]), { name: 'OutboxWriteError', message: /wrote 0 of 2/ });
    await client.query('rollback');
  });
});

test('ids are UUIDs of version 7 and do not repeat', () => {
  const before = Date.now();
  const ids = Array.from({ length: 2000 }, newId);
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids) {
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    const made = parseInt(id.replace('-', '').slice(0, 12), 16);
    assert.ok(made >= before && made <= Date.now());
  }
});

test('a record is read', () => {
  const record = readRecord({ key: Buffer.from('7'), value: null, headers: { id: Buffer.from('x'), type: 'T', created_at: '2026-01-02T03:04:05.000001Z', twice: [Buffer.from('a'), Buffer.from('b')] } });
  assert.deepEqual({ ...record, headers: { ...record.headers } }, {
    id: 'x', type: 'T', key: '7', value: null, createdAt: new Date('2026-01-02T03:04:05.000Z'),
    headers: { id: 'x', type: 'T', created_at: '2026-01-02T03:04:05.000001Z', twice: 'b' },
  });
});

test('a record is read by the names that relay gives its headers', () => {
  const named = { 'event-id': Buffer.from('x'), eventType: [Buffer.from('T'), Buffer.from('of the application')], at: '2026-01-02T03:04:05.000001Z', type: 'of the application' };
  const { id, type, createdAt, headers } = readRecord({ headers: named }, { headers: { id: 'event-id', type: 'eventType', createdAt: 'at' } });
  assert.deepEqual([id, type, createdAt], ['x', 'T', new Date('2026-01-02T03:04:05.000Z')]);
  assert.equal(headers['type'], 'of the application');
  const other = readRecord({ headers: named });
  assert.deepEqual([other.id, other.type], [undefined, 'of the application']);
  assert.equal(readRecord({ headers: { ...named, id: 'y' } }, { headers: { type: 'eventType' } }).id, 'y');
  for (const [headers, problem] of [[{ id: '' }, /headers\.id is no name/], [{ type: 7 }, /headers\.type is no name/], [{ type: 'id' }, /headers\.type: "id" is the name of headers\.id as well/]]) {
    assert.throws(() => readRecord({}, { headers }), { name: 'TypeError', message: problem });
  }
});

test('what Kafka takes as a topic', () => {
  for (const topic of ['a', 'A.b_c-9', 'x'.repeat(249), '...']) assert.equal(core.topicProblem(topic), undefined);
  for (const topic of ['', '.', '..', 'x'.repeat(250), 'a b', 'a/b', 'ü', 'a\n', undefined]) assert.match(core.topicProblem(topic), /missing|refuse|249/);
});

test('the inbox needs a consumer and an id', () => transaction(pool, async (client) => {
  await assert.rejects(withInbox(client, { consumer: '', id: '1' }, () => {}), /consumer is missing/);
  await assert.rejects(withInbox(client, { consumer: 'c', id: undefined }, () => {}), /no id/);
}));

test('the inbox forgets what is old and nothing else', async () => {
  await pool.query(`insert into outbox.inbox values ('prune', 'old', now() - interval '15 days'), ('prune', 'new', now() - interval '13 days')`);
  assert.equal(await core.pruneInbox(pool, 14), 1);
  assert.deepEqual((await pool.query(`select message_id from outbox.inbox where consumer = 'prune'`)).rows, [{ message_id: 'new' }]);
  await assert.rejects(core.pruneInbox(pool, 0), TypeError);
});

test('the package holds the build and nothing else, and needs nothing', () => {
  const folder = path.join(__dirname, '..');
  const [packed] = Object.values(JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json'], { cwd: folder, encoding: 'utf8' })));
  const files = packed.files.map((file) => file.path).sort();
  assert.ok(files.includes('dist/index.js') && files.includes('dist/index.d.ts') && files.includes('package.json'));
  for (const file of files) assert.match(file, /^(package\.json|README\.md|dist\/[a-z-]+\.(js|d\.ts))$/);
  const manifest = require('../package.json');
  assert.equal(manifest.dependencies, undefined);
  for (const script of ['preinstall', 'install', 'postinstall', 'prepare']) assert.equal(manifest.scripts[script], undefined);
});
