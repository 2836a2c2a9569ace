'use strict';
const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const { after, before, describe, test } = require('node:test');
const { inspect } = require('node:util');
const { createOutbox, defineEvent, transactionOf, withInbox, OutboxTransactionRequiredError } = require('@outboxrelay/core');
const { clients } = require('./clients.js');
const { openPool } = require('./database.js');

const outbox = createOutbox();
const Named = defineEvent()({ topic: 'named', type: 'Named', key: (payload) => payload.name });
const boom = new Error('on purpose');
const pool = openPool();

/** Which of the names have a business row, and which an event. Read by a connection of its own: what is committed. */
async function committed(names) {
  const business = await pool.query('select name from business where name = any($1)', [names]);
  const events = await pool.query(`select key from outbox.events where topic = 'named' and key = any($1)`, [names]);
  return { business: business.rows.map((row) => row.name).sort(), events: events.rows.map((row) => row.key).sort() };
}

for (const [name, open] of Object.entries(clients)) {
  describe(name, () => {
    let client;
    before(async () => { client = await open(); });
    after(() => client?.close());

    const both = async (tx, business) => {
      await client.write(tx, business);
      await outbox.emit(tx, Named, { name: business });
    };
    const names = (...of) => of.map((one) => `${one} ${randomUUID()}`).sort();

    test('a commit has both', async () => {
      const [one] = names('commit');
      await client.transaction(async (tx) => {
        assert.equal(transactionOf(tx).client, client.is ?? name);
        await both(tx, one);
        assert.deepEqual(await committed([one]), { business: [], events: [] });
      });
      assert.deepEqual(await committed([one]), { business: [one], events: [one] });
    });

    test('a rollback has neither', async () => {
      const [one] = names('rollback');
      await assert.rejects(client.transaction(async (tx) => { await both(tx, one); throw boom; }), boom);
      assert.deepEqual(await committed([one]), { business: [], events: [] });
    });

    test('a savepoint that is rolled back takes its event along and nothing else', async () => {
      const [inner, outer] = names('a inner', 'b outer');
      await client.transaction(async (tx) => {
        await both(tx, outer);
        await assert.rejects(client.nested(tx, async (sp) => { await both(sp, inner); throw boom; }), boom);
      });
      assert.deepEqual(await committed([inner, outer]), { business: [outer], events: [outer] });
    });

    test('a nested transaction commits with the outer one', async () => {
      const all = names('a inner', 'b outer');
      await client.transaction(async (tx) => {
        await client.nested(tx, (sp) => both(sp, all[0]));
        await both(tx, all[1]);
        assert.deepEqual(await committed(all), { business: [], events: [] });
      });
      assert.deepEqual(await committed(all), { business: all, events: all });
    });

    test('an outer rollback undoes a nested transaction', async () => {
      const [one] = names('outer rollback');
      await assert.rejects(client.transaction(async (tx) => {
        await client.nested(tx, (sp) => both(sp, one));
        throw boom;
      }), boom);
      assert.deepEqual(await committed([one]), { business: [], events: [] });
    });

    test('outside a transaction it is refused and nothing is written', async () => {
      const [one] = names('outside');
      await assert.rejects(outbox.emit(client.outside, Named, { name: one }), OutboxTransactionRequiredError);
      await assert.rejects(withInbox(client.outside, { consumer: 'c', id: one }, () => {}), OutboxTransactionRequiredError);
      assert.deepEqual(await committed([one]), { business: [], events: [] });
    });

    test('a transaction that ends while a schema takes its time gets no event, nor does anyone else', async () => {
      const [one] = names('ended');
      let emitting;
      let answer;
      const validate = () => new Promise((done) => { answer = () => done({ value: {} }); });
      const Slow = defineEvent({ topic: 'named', key: () => one, schema: { '~standard': { version: 1, vendor: 'test', validate } } });
      await client.transaction(async (tx) => {
        emitting = outbox.emit(tx, Slow, {});
        emitting.catch(() => undefined); // awaited below
      });
      answer();
      // Some clients refuse by themselves.
      await assert.rejects(emitting, (error) => error instanceof OutboxTransactionRequiredError || /Transaction (is )?already (closed|committed)/.test(error.message));
      assert.deepEqual(await committed([one]), { business: [], events: [] });
    });

    test('an event that nobody waits for is gone with the transaction too', async () => {
      const schema = { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } };
      for (const options of [{}, { schema }]) {
        const [one] = names('not awaited');
        const Forgotten = defineEvent()({ topic: 'named', key: () => one, ...options });
        let emitting;
        await assert.rejects(client.transaction(async (tx) => {
          await client.write(tx, one);
          emitting = outbox.emit(tx, Forgotten, {});
          emitting.catch(() => undefined);
          throw boom;
        }), boom);
        await emitting.catch(() => undefined); // some clients refuse it by then
        assert.deepEqual(await committed([one]), { business: [], events: [] });
      }
    });

    test('the payload arrives byte for byte', async () => {
      const payload = { name: randomUUID(), text: 'q? $1 :a ::b \' " \\ \u0000 \ud800 é 漢 😀\n', big: 2n ** 63n, n: [1, 1.5e300, null, true] };
      await client.transaction((tx) => outbox.emit(tx, Named, payload, { headers: { 'x?$1': '\' " \\ é ?' } }));
      const { rows } = await pool.query(`select convert_to(payload::text, 'UTF8') as bytes, headers from outbox.events where key = $1`, [payload.name]);
      assert.equal(rows.length, 1);
      assert.equal(rows[0].bytes.toString('utf8'), JSON.stringify({ ...payload, big: '9223372036854775808' }));
      assert.deepEqual(rows[0].headers, { 'x?$1': '\' " \\ é ?' });
    });

    test('the rights of grants/writer.sql are enough to emit, and no more is had', async () => {
      const [one] = names('writer');
      const narrow = await open(process.env.WRITER_URL);
      try {
        await narrow.transaction((tx) => outbox.emit(tx, Named, [{ name: one }, { name: one }], { headers: { a: 'b' }, partition: 1, deliverAt: new Date() }));
        const denied = (error) => /permission denied/.test(inspect(error)); // some clients have it in the cause
        await assert.rejects(narrow.transaction((tx) => transactionOf(tx).query('select topic from outbox.events', [])), denied);
        await assert.rejects(narrow.transaction((tx) => withInbox(tx, { consumer: 'c', id: one }, () => {})), denied);
      } finally {
        await narrow.close();
      }
      assert.deepEqual((await committed([one])).events, [one, one]);
    });

    test('the inbox lets work happen once, and again after a rollback', async () => {
      const message = { consumer: 'matrix', id: randomUUID() };
      const [one] = names('inbox');
      const handle = (fail) => client.transaction(async (tx) => {
        const result = await withInbox(tx, message, async () => { await client.write(tx, one); if (fail) throw boom; return 7; });
        assert.deepEqual(result, expected);
      });
      let expected;
      await assert.rejects(handle(true), boom);
      expected = { duplicate: false, value: 7 };
      await handle(false);
      expected = { duplicate: true };
      await handle(false);
      assert.deepEqual((await committed([one])).business, [one]);
    });
  });
}
