import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Controller, Injectable, type Type } from '@nestjs/common';
import { Payload, ServerKafka } from '@nestjs/microservices';
import { Test, type TestingModule } from '@nestjs/testing';
import { DataSource, type EntityManager } from 'typeorm';
import { ConsumeEvent, defineEvent, Meta, newId, OutboxModule, Tx, type EventMeta, type HeaderNames } from '@outboxrelay/nestjs';
import { deliver } from '@outboxrelay/nestjs/testing';
import { connect, count, eventually, leg } from './support';

// Records whose headers have other names than the consumer expects, and handlers that could never act.

const topic = `${leg}-headers`;
const Placed = defineEvent<{ id: string }>()({ topic, type: 'Placed' });
const Paid = defineEvent<{ id: string }>()({ topic, type: 'Paid' });
const Failing = defineEvent<{ id: string }>()({ topic, type: 'Failing' });
const Elsewhere = defineEvent<{ id: string }>()({ topic: `${topic}-elsewhere`, type: 'Elsewhere' });
const Nameless = defineEvent<{ id: string }>()({ topic: `${topic}-nameless` });
const Any = defineEvent<{ id: string }>()({ topic: `${topic}-any` });

const seen: EventMeta[] = [];

@Controller()
class Consumer {
  @ConsumeEvent(Placed, { consumer: 'headers', deadLetter: true, retry: { minDelay: 1, maxDelay: 2 } })
  async placed(@Payload() { id }: { id: string }, @Meta() meta: EventMeta, @Tx() tx: EntityManager) {
    seen.push(meta);
    await tx.query('insert into by_headers values ($1)', [id]);
  }

  @ConsumeEvent(Paid, { consumer: 'headers' })
  async paid() {}

  @ConsumeEvent(Failing, { consumer: 'headers', deadLetter: true, retry: { attempts: 1 } })
  async failing() {
    throw new Error('it never works');
  }

  @ConsumeEvent(Nameless, { consumer: 'headers', deadLetter: true, retry: { attempts: 1 } })
  async nameless() {
    throw new Error('it never works');
  }

  @ConsumeEvent(Elsewhere, { consumer: 'headers' })
  async elsewhere() {}

  @ConsumeEvent(Any, { consumer: 'headers', withoutId: 'place' })
  async any(@Payload() { id }: { id: string }, @Tx() tx: EntityManager) {
    await tx.query('insert into by_headers values ($1)', [id]);
  }
}

const log: { level: string; line: string }[] = [];
const lines = (level: string, part: string) => log.filter((one) => one.level === level && one.line.includes(part)).map(({ line }) => line);
const keep = (level: string) => (line: unknown) => void log.push({ level, line: String(line) });
const logger = { log: () => undefined, warn: keep('warn'), error: keep('error') };
let ds: DataSource;

before(async () => {
  ds = await connect();
  await ds.query('create table if not exists by_headers (id text)');
});
after(() => ds?.destroy());

async function running(work: (mod: TestingModule) => Promise<void>, headers?: HeaderNames): Promise<void> {
  log.length = 0;
  const mod = await build([Consumer], headers);
  try {
    await work(mod);
  } finally {
    await mod.close();
  }
}

const build = (controllers: Type[], headers?: HeaderNames, providers: Type[] = []): Promise<TestingModule> =>
  Test.createTestingModule({ imports: [OutboxModule.forRoot({ headers, transaction: (work) => ds.transaction(work) })], controllers, providers })
    .setLogger(logger)
    .compile();

type Given = Record<string, string | readonly string[]>;

/** A record as kafkajs hands it over, with an array of what a header has more than once, to a server with Nest's own options. */
async function receive(mod: TestingModule, key: string, id: string, given: Given): Promise<void> {
  const server = new ServerKafka({});
  await mod.createNestMicroservice({ strategy: server }).init();
  const bytes = (value: string | readonly string[]) => (typeof value === 'string' ? Buffer.from(value) : value.map((one) => Buffer.from(one)));
  const headers = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, bytes(value)]));
  const message = { key: Buffer.from(key), value: Buffer.from(JSON.stringify({ id })), headers, timestamp: '0', attributes: 0, offset: '7' };
  await server.handleMessage({ topic, partition: 0, message, heartbeat: async () => undefined, pause: () => () => undefined });
}

const rows = (id: string) => count(ds, `by_headers where id = '${id}'`);
const inboxRows = (id: string) => count(ds, `outbox.inbox where message_id = '${id}'`);

const renamed = { id: 'event-id', type: 'eventType', createdAt: 'at' };

test('headers are read by the names that the module is given', () =>
  running(async (mod) => {
    const id = newId();
    await deliver(mod, Placed, { id }, { id });
    await deliver(mod, Placed, { id }, { id });
    assert.deepEqual([await rows(id), await inboxRows(id)], [1, 1]);
    const meta = seen.find((one) => one.id === id)!;
    assert.deepEqual([meta.type, Object.keys(meta.headers)], ['Placed', Object.values(renamed)]);
    assert.ok(meta.createdAt instanceof Date);
    assert.deepEqual(log, []);
  }, renamed));

test('a dead letter has no other header of relay\'s than its own', () =>
  running(async (mod) => {
    const id = newId();
    await deliver(mod, Failing, { id }, { id, headers: { id: 'of a stranger', tenant: 'acme', '': 'nameless' } });
    const [letter] = await ds.query(`select type, headers from outbox.events where headers->>'x-original-id' = $1`, [id]);
    assert.equal(letter.type, 'Failing');
    assert.deepEqual(Object.keys(letter.headers).filter((name) => !name.startsWith('x-')), ['tenant']);
    const other = newId();
    await deliver(mod, Nameless, { id: other }, { id: other, type: 'no text for\0PostgreSQL' });
    assert.deepEqual(await ds.query(`select type from outbox.events where headers->>'x-original-id' = $1`, [other]), [{ type: null }]);
  }, renamed));

test('a header that is there twice counts once: of relay\'s own the first, of others the last', () =>
  running(async (mod) => {
    const first = newId();
    const given = { 'event-id': [first, newId()], eventType: ['Placed', 'of the application'], at: ['2026-01-02T03:04:05.000001Z', 'never'], id: ['a', 'b'] };
    const key = '{"t": 12345678901234567890}';
    await receive(mod, key, first, given);
    await receive(mod, key, first, { ...given, 'event-id': [first, 'of the application'], eventType: 'Placed' });
    assert.deepEqual([await rows(first), await inboxRows(first)], [1, 1]);
    const { headers, ...meta } = seen.find((one) => one.id === first)!;
    assert.deepEqual([meta.type, meta.createdAt, meta.key], ['Placed', new Date('2026-01-02T03:04:05.000Z'), key]);
    assert.deepEqual({ ...headers }, { 'event-id': first, eventType: 'Placed', at: '2026-01-02T03:04:05.000001Z', id: 'b' });
    assert.deepEqual(log, []);
  }, renamed));

test('records without a type are passed over with a warning, once a topic', () =>
  running(async (mod) => {
    const [first, second] = [newId(), newId()];
    await deliver(mod, Placed, { id: first }, { id: first, headers: { type: undefined, eventType: 'Placed' } });
    await deliver(mod, Placed, { id: second }, { id: second, headers: { type: undefined, eventType: 'Placed' } });
    assert.deepEqual([await rows(first), await inboxRows(first), await rows(second)], [0, 0, 0]);
    const [warning, ...others] = lines('warn', 'passes over');
    assert.deepEqual(others, []);
    assert.match(warning!, new RegExp(`without a header "type" \\(${topic}\\[0\\] at offset \\d+, with "id", "created_at", "eventType"\\)`));
    assert.match(warning!, /give OutboxModule that name: headers: \{ type: '…' \}/);
    await deliver(mod, Elsewhere, { id: first }, { headers: { type: undefined } });
    assert.equal(lines('warn', Elsewhere.topic).length, 1);
  }));

test('records of another type are passed over without a word', () =>
  running(async (mod) => {
    await deliver(mod, Placed, { id: 'other' }, { type: 'SomethingElse' });
    assert.deepEqual(log, []);
  }));

test('an event without an id waits, and is neither handled nor set aside nor lost', () =>
  running(async (mod) => {
    const id = newId();
    const other = await build([Consumer]);
    const outcome = assert.rejects(deliver(other, Placed, { id }, { headers: { id: undefined, 'event-id': id } }));
    try {
      await eventually('it waits', () => lines('error', 'does not handle').length > 2);
    } finally {
      await other.close();
    }
    await outcome;
    assert.match(lines('error', 'does not handle')[0]!, new RegExp(`${topic}\\[0\\] waits: it has no header "id" \\(but "type", "created_at", "event-id"\\).*headers: \\{ id: '…' \\}.*withoutId`));
    assert.deepEqual([await rows(id), seen.some((meta) => meta.headers['event-id'] === id)], [0, false]);
    assert.equal(await count(ds, `outbox.events where topic = '${topic}.headers.dlq' and headers->>'event-id' = '${id}'`), 0);

    await deliver(mod, Any, { id }, { headers: { id: undefined } });
    await deliver(mod, Any, { id }, { headers: { id: undefined } });
    assert.equal(await rows(id), 2); // another place, so another event: that is what withoutId says
  }));

test('names that are none are refused at start', async () => {
  await assert.rejects(build([Consumer], { type: '' }), /headers\.type is no name/);
  await assert.rejects(build([Consumer], { type: 'id' }), /headers\.type: "id" is the name of headers\.id as well/);
  assert.throws(() => ConsumeEvent(Placed, { consumer: 'c', withoutId: 'guess' as never }), /withoutId has to be/);
});

test('a dead letter\'s topic that Kafka refuses is refused where it is written', () => {
  const decorated = (consumer: string, deadLetter: string | true) => () => {
    class Billing {
      @ConsumeEvent(Placed, { consumer, deadLetter }) placed() {}
    }
    return Billing;
  };
  assert.throws(decorated('billing', 'grave yard'), { name: 'TypeError', message: /^@ConsumeEvent on Billing\.placed: deadLetter: the topic "grave yard" is refused: Kafka takes/ });
  assert.throws(decorated('billing service', true), new RegExp(`Billing\\.placed: deadLetter: the topic "${topic}\\.billing service\\.dlq" is refused.*name one`));
  assert.throws(decorated('x'.repeat(240), true), /the topic has 2\d\d characters and Kafka takes 249/);
  for (const bad of ['', '.', '..', 'a/b', 'x'.repeat(250)]) assert.throws(decorated('billing', bad), /Billing\.placed: deadLetter/);
  for (const good of ['a', 'A.b_c-9', 'x'.repeat(249)]) decorated('billing service', good)();
});

test('handlers that would never act are refused at start', async () => {
  const one = class Same {};
  const other = class Same {};
  for (const { prototype } of [one, other]) {
    Object.defineProperty(prototype, 'placed', { value() {}, configurable: true });
    ConsumeEvent(Placed, { consumer: 'same' })(prototype, 'placed', Object.getOwnPropertyDescriptor(prototype, 'placed')!);
  }
  const twins = await build([Controller()(one) ?? one, Controller()(other) ?? other] as Type[]);
  await assert.rejects(twins.init(), /Same\.placed and Same\.placed both handle/);

  @Injectable()
  class Service {
    @ConsumeEvent(Placed, { consumer: 'service' }) placed() {}
  }
  const uncalled = await build([], undefined, [Service]);
  await assert.rejects(uncalled.init(), /@ConsumeEvent on Service\.placed would never be called: make Service a controller/);
});
