import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Controller, Module, type INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, KafkaContext, Payload, Transport } from '@nestjs/microservices';
import { CompressionCodecs, CompressionTypes } from 'kafkajs';
import { DataSource, type EntityManager } from 'typeorm';
import { ConsumeEvent, createOutbox, defineEvent, exitOnKafkaCrash, kafkaConsumer, Meta, newId, OutboxModule, tombstone, Tx, type EventMeta } from '@outboxrelay/nestjs';
import { Numbered } from './consumer-app';
import { brokers, connect, count, createTopics, eventually, gzipDatabase, kafka, leg } from './support';

// What relay run publishes on a real Kafka, consumed by real microservices. More events and a longer handler:
// CRASH_EVENTS=2000 HANDLER_SECONDS=60.
const crashEvents = Number(process.env['CRASH_EVENTS'] ?? 300);
const handlerSeconds = Number(process.env['HANDLER_SECONDS'] ?? 4);

const Plain = defineEvent<{ id: string; big: string; text: string }>()({ topic: `${leg}-plain`, type: 'Plain', key: (e) => e.id });
const Doubled = defineEvent<{ n: number }>()({ topic: `${leg}-doubled`, type: 'Doubled' });
const Hopeless = defineEvent<{ n: number }>()({ topic: `${leg}-hopeless`, type: 'Hopeless' });
const Slow = defineEvent<{ n: number }>()({ topic: `${leg}-slow`, type: 'Slow' });
const outbox = createOutbox();
let ds: DataSource;
let gzip: DataSource;

before(async () => {
  [ds, gzip] = [await connect(), await connect(gzipDatabase)];
  await ds.query('create table handled (n integer not null)');
  await createTopics(Plain.topic, Doubled.topic, Hopeless.topic, Slow.topic, Numbered.topic, `${Numbered.topic}.counter.dlq`);
});
after(async () => {
  await ds?.destroy();
  await gzip?.destroy();
});

// The codec is chosen by the bits of the batch's attributes, so a call of gzip's means that the broker keeps a batch that is
// compressed with it.
let unzipped = 0;
const gunzip = CompressionCodecs[CompressionTypes.GZIP];
CompressionCodecs[CompressionTypes.GZIP] = () => {
  const codec = gunzip();
  return { ...codec, decompress: (bytes: Buffer) => ((unzipped += 1), codec.decompress(bytes)) };
};

const received: { payload: any; key: unknown; headers: any; value: unknown }[] = [];

@Controller()
class PlainConsumer {
  @EventPattern(Plain.topic)
  handle(@Payload() payload: any, @Ctx() context?: any) {
    const { key, headers, value } = context.getMessage();
    received.push({ payload, key, headers, value });
  }
}

test('a plain Nest consumer gets parsed objects, headers, keys and tombstones, compressed or not', async () => {
  @Module({ controllers: [PlainConsumer] })
  class AppModule {}
  const app = await NestFactory.createMicroservice(AppModule, {
    transport: Transport.KAFKA,
    options: { client: { brokers }, consumer: { groupId: `${leg}-plain` }, subscribe: { fromBeginning: true } },
    logger: false,
  });
  try {
    await app.listen();
    for (const [from, database] of Object.entries({ none: ds, gzip })) {
      received.length = 0;
      unzipped = 0;
      const text = 'ü'.repeat(2000);
      const [id] = await database.transaction(async (em) => {
        await outbox.emit(em, Plain, tombstone, { key: 'gone' });
        return outbox.emit(em, Plain, { id: '42', big: '9007199254740993', text }, { headers: { tenant: 'acme' } });
      });
      await eventually(`both records of ${from}`, () => received.length === 2);
      assert.equal(unzipped > 0, from === 'gzip', `${unzipped} batches were compressed`);
      const event = received.find(({ key }) => key === '42')!;
      assert.deepEqual(event.payload, { id: '42', big: '9007199254740993', text });
      const { created_at, ...headers } = event.headers;
      assert.deepEqual(headers, { id, type: 'Plain', tenant: 'acme' });
      assert.match(created_at, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
      const gone = received.find(({ key }) => key === 'gone')!;
      assert.equal(gone.value, null);
      assert.equal(gone.payload.key, 'gone'); // the whole message, which @ConsumeEvent makes null
    }
  } finally {
    await app.close();
  }
});

test('a header of the application\'s does not stand in for relay\'s', async () => {
  const metas: EventMeta[] = [];
  let joined: unknown;

  @Controller()
  class DoubledConsumer {
    @ConsumeEvent(Doubled, { consumer: 'doubled' })
    async handle(@Meta() meta: EventMeta, @Ctx() context: KafkaContext) {
      metas.push(meta);
      joined = context.getMessage().headers!['type'];
    }
  }
  @Module({ imports: [OutboxModule.forRoot({ transaction: (work) => ds.transaction(work) })], controllers: [DoubledConsumer] })
  class AppModule {}
  const app = await NestFactory.createMicroservice(AppModule, { ...kafkaConsumer({ brokers, groupId: `${leg}-doubled` }), logger: false });
  try {
    await app.listen();
    const id = newId();
    const headers = { id: 'a', type: 'b', created_at: 'c', tenant: 'acme' };
    await ds.query(`insert into outbox.events (id, topic, type, payload, headers) values ($1, $2, 'Doubled', '{"n": 1}', $3)`, [id, Doubled.topic, headers]);
    await eventually('the event', () => metas.length > 0);
    assert.deepEqual([metas[0]!.id, metas[0]!.type, metas[0]!.headers['tenant']], [id, 'Doubled', 'acme']);
    assert.ok(metas[0]!.createdAt instanceof Date);
    assert.equal(joined, 'Doubled,b'); // so the record has it twice
  } finally {
    await app.close();
  }
});

test('a consumer that is killed again and again handles each event once, and a poison event blocks nobody', async () => {
  const poison = Math.floor(crashEvents / 3);
  for (let n = 0; n < crashEvents; n += 100) {
    const events = Array.from({ length: Math.min(100, crashEvents - n) }, (_, i) => ({ n: n + i, ...(n + i === poison && { poison: true }) }));
    await ds.transaction((em) => outbox.emit(em, Numbered, events));
  }
  const handled = () => count(ds, 'handled');
  let kills = 0;
  for (let target = 0; target < crashEvents - 20; target += Math.ceil(Math.random() * (crashEvents / 3))) {
    const consumer = run();
    await eventually(`${target} events`, async () => {
      if (consumer.exitCode !== null) throw new Error(`the consumer ended by itself with code ${consumer.exitCode}`);
      return (await handled()) > target;
    }, 60);
    await end(consumer, 'SIGKILL');
    kills += 1;
  }
  const consumer = run();
  try {
    await eventually('all events', async () => (await handled()) >= crashEvents - 1, 60);
    await eventually('the dead letter', async () => (await count(ds, `outbox.inbox where consumer = 'counter'`)) === crashEvents);
  } finally {
    await end(consumer, 'SIGTERM');
  }
  assert.ok(kills >= 3, `killed ${kills} times`);
  assert.equal(await handled(), crashEvents - 1);
  assert.equal(await count(ds, '(select distinct n from handled) d'), crashEvents - 1);
  assert.equal(await count(ds, `handled where n = ${poison}`), 0);

  const [letter, ...others] = await consumeAll(`${Numbered.topic}.counter.dlq`);
  assert.equal(others.length, 0);
  assert.equal(letter!.value!.toString(), JSON.stringify({ n: poison, poison: true }));
  assert.equal(letter!.key!.toString(), String(poison % 16));
  assert.equal(String(letter!.headers!['x-error']), 'Error: poison');
});

test('a handler that takes longer than the session keeps its partition', async () => {
  let calls = 0;
  let rejoins = 0;

  @Controller()
  class SlowConsumer {
    @ConsumeEvent(Slow, { consumer: 'slow' })
    async handle(@Payload() { n }: { n: number }, @Tx() tx: EntityManager) {
      calls += 1;
      if (n === 1) rejoins = 0; // what came before was the first join
      // The database is what takes its time here, as it often does.
      if (n === 1) await tx.query('select pg_sleep($1)', [handlerSeconds]);
    }
  }
  @Module({ imports: [OutboxModule.forRoot({ transaction: (work) => ds.transaction(work) })], controllers: [SlowConsumer] })
  class AppModule {}
  const app: INestMicroservice = await NestFactory.createMicroservice(AppModule, {
    ...kafkaConsumer({ brokers, groupId: `${leg}-slow`, sessionTimeout: 1000 }),
    logger: false,
    abortOnError: false,
  });
  try {
    assert.throws(() => exitOnKafkaCrash(app), /listen/);
    await app.listen();
    exitOnKafkaCrash(app);
    const [, consumer] = app.unwrap<any[]>();
    consumer.on(consumer.events.GROUP_JOIN, () => (rejoins += 1));
    await ds.transaction((em) => outbox.emit(em, Slow, [{ n: 1 }, { n: 2 }], { partition: 0 }));
    await eventually('both events', async () => (await count(ds, `outbox.inbox where consumer = 'slow'`)) === 2, handlerSeconds + 30);
  } finally {
    await app.close();
  }
  assert.equal(calls, 2);
  assert.equal(rejoins, 0, 'the group has thrown it out');
});

test('an event that is tried again holds up neither a new member of the group nor a shutdown', async () => {
  let calls = 0;

  @Controller()
  class HopelessConsumer {
    @ConsumeEvent(Hopeless, { consumer: 'hopeless', retry: { minDelay: 120_000, maxDelay: 120_000 } })
    async handle() {
      calls += 1;
      throw new Error('not today');
    }
  }
  @Module({ imports: [OutboxModule.forRoot({ transaction: (work) => ds.transaction(work) })], controllers: [HopelessConsumer] })
  class AppModule {}
  const apps: INestMicroservice[] = [];
  const join = async () => {
    const app = await NestFactory.createMicroservice(AppModule, { ...kafkaConsumer({ brokers, groupId: `${leg}-hopeless` }), logger: false });
    apps.push(app);
    await app.listen();
  };
  let closed = false;
  try {
    await join();
    await ds.transaction((em) => outbox.emit(em, Hopeless, { n: 1 }));
    await eventually('the event', () => calls === 1);
    let joined = false;
    void join().then(() => (joined = true));
    await eventually('the second member', () => joined);
    await eventually('the event, again', () => calls === 2);
  } finally {
    void Promise.all(apps.map((app) => app.close())).then(() => (closed = true));
  }
  await eventually('the shutdown', () => closed);
});

test('exitOnKafkaCrash ends the process only when kafkajs will not restart', () => {
  const exits: number[] = [];
  let crash!: (event: any) => void;
  const consumer = { events: { CRASH: 'consumer.crash' }, on: (_: string, listener: typeof crash) => (crash = listener) };
  exitOnKafkaCrash({ unwrap: () => [{}, consumer] } as never, (code) => exits.push(code));
  crash({ payload: { restart: true, error: new Error('for now') } });
  assert.deepEqual(exits, []);
  crash({ payload: { restart: false, error: new Error('for good') } });
  assert.deepEqual(exits, [1]);
});

test('exitOnKafkaCrash finds the consumer beside other transports', () => {
  const exits: number[] = [];
  let crash!: (event: any) => void;
  const consumer = { events: { CRASH: 'consumer.crash' }, on: (_: string, listener: typeof crash) => (crash = listener) };
  const grpc = {
    unwrap: () => {
      throw new Error('Method is not supported for gRPC transport');
    },
  };
  const hybrid = (...services: unknown[]) => ({ getMicroservices: () => services }) as never;
  exitOnKafkaCrash(hybrid(grpc, { unwrap: () => [{}, consumer] }), (code) => exits.push(code));
  crash({ payload: { restart: false } });
  assert.deepEqual(exits, [1]);
  assert.throws(() => exitOnKafkaCrash(hybrid(grpc)), /no Kafka consumer: call it after listen\(\)/);
});

function run(): ChildProcess {
  return spawn(process.execPath, [join(__dirname, 'consumer-app.js')], { stdio: ['ignore', 'ignore', 'ignore'] });
}

async function end(program: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const ended = new Promise((done) => program.once('exit', done));
  program.kill(signal);
  await ended;
}

async function consumeAll(topic: string) {
  const messages: { key: Buffer | null; value: Buffer | null; headers?: any }[] = [];
  const consumer = kafka.consumer({ groupId: `${topic}-reader` });
  await consumer.connect();
  try {
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({ eachMessage: async ({ message }) => void messages.push(message) });
    await eventually(`a record in ${topic}`, () => messages.length > 0);
  } finally {
    await consumer.disconnect();
  }
  return messages;
}
