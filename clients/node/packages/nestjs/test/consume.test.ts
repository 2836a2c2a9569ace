import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Controller, Injectable, Logger, Module, ValidationPipe } from '@nestjs/common';
import { Payload, ServerKafka } from '@nestjs/microservices';
import { Test, type TestingModule } from '@nestjs/testing';
import { ClsPluginTransactional, Transactional, TransactionHost } from '@nestjs-cls/transactional';
import { TransactionalAdapterTypeOrm } from '@nestjs-cls/transactional-adapter-typeorm';
import { IsString } from 'class-validator';
import { ClsModule } from 'nestjs-cls';
import { DataSource, type EntityManager } from 'typeorm';
import { ConsumeEvent, defineEvent, Meta, OutboxHealthIndicator, OutboxModule, RejectEventError, tombstone, Tx, type EventMeta, type StandardSchema } from '@outboxrelay/nestjs';
import { deliver } from '@outboxrelay/nestjs/testing';
import { connect, count, eventually, leg } from './support';

interface Order {
  id: string;
  total: string;
}
const schema: StandardSchema<Order, Order> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value: any) => (typeof value?.id === 'string' ? { value } : { issues: [{ message: 'secret words', path: ['id'] }] }),
  },
};
class Dto {
  @IsString() id!: string;
}
const topic = `${leg}-consume`;
const Placed = defineEvent<Order>()({ topic, type: 'Placed', key: (order) => order.id });
const Paid = defineEvent<Order>()({ topic, type: 'Paid' });
const Failing = defineEvent<Order>()({ topic, type: 'Failing', key: (order) => order.id });
const Rejected = defineEvent<Order>()({ topic, type: 'Rejected' });
const Checked = defineEvent({ topic, type: 'Checked', schema });
const Validated = defineEvent<Dto>()({ topic, type: 'Validated' });
const Outage = defineEvent<Order>()({ topic, type: 'Outage' });
const Deferred = defineEvent<Order>()({ topic, type: 'Deferred' });
const Gone = defineEvent<Order>()({ topic, type: 'Gone', key: (order) => order.id });
const Held = defineEvent<Order>()({ topic, type: 'Held' });
const Waiting = defineEvent<Order>()({ topic, type: 'Waiting' });

const quick = { attempts: 3, minDelay: 1, maxDelay: 2 };
const seen: { handler: string; payload: unknown; meta: EventMeta }[] = [];
let failures = 0;

@Injectable()
class Invoices {
  constructor(private readonly host: TransactionHost<TransactionalAdapterTypeOrm>) {}

  @Transactional()
  async add(order: Order): Promise<void> {
    await this.host.tx.query('insert into consumed values ($1)', [order.id]);
  }
}

@Controller()
class Consumer {
  constructor(private readonly invoices: Invoices) {}

  @ConsumeEvent(Placed, { consumer: 'billing' })
  async placed(@Payload() order: Order, @Tx() tx: EntityManager, @Meta() meta: EventMeta) {
    seen.push({ handler: 'placed', payload: order, meta });
    await tx.query('insert into consumed values ($1)', [order.id]);
  }

  @ConsumeEvent(Paid, { consumer: 'billing' })
  async paid(@Payload() order: Order) {
    await this.invoices.add(order);
  }

  @ConsumeEvent(Failing, { consumer: 'billing', retry: quick, deadLetter: true })
  async failing(@Payload() order: Order, @Tx() tx: EntityManager, @Meta() meta: EventMeta) {
    seen.push({ handler: 'failing', payload: order, meta });
    await tx.query('insert into consumed values ($1)', [order.id]);
    throw new Error('it never works');
  }

  @ConsumeEvent(Rejected, { consumer: 'billing', retry: quick, deadLetter: `${topic}.graveyard` })
  async rejected(@Payload() order: Order, @Tx() tx: EntityManager, @Meta() meta: EventMeta) {
    seen.push({ handler: 'rejected', payload: order, meta });
    await tx.query('insert into consumed values ($1)', [order.id]);
    throw new RejectEventError('no such customer');
  }

  @ConsumeEvent(Checked, { consumer: 'billing', retry: quick, deadLetter: true })
  async checked(@Payload() order: Order, @Meta() meta: EventMeta) {
    seen.push({ handler: 'checked', payload: order, meta });
  }

  @ConsumeEvent(Validated, { consumer: 'billing', retry: quick, deadLetter: true })
  async validated(@Payload(new ValidationPipe()) dto: Dto, @Meta() meta: EventMeta) {
    seen.push({ handler: 'validated', payload: dto, meta });
  }

  @ConsumeEvent(Outage, { consumer: 'billing', retry: quick, deadLetter: true })
  async outage(@Payload() order: Order, @Tx() tx: EntityManager) {
    failures += 1;
    // More often than there are attempts.
    if (failures <= quick.attempts + 2) await tx.query('select pg_terminate_backend(pg_backend_pid())');
    await tx.query('insert into consumed values ($1)', [order.id]);
  }

  @ConsumeEvent(Deferred, { consumer: 'billing', retry: quick, deadLetter: true })
  async deferred(@Payload() order: Order, @Tx() tx: EntityManager) {
    await tx.query('insert into consumed_deferred values ($1)', [order.id]);
  }

  @ConsumeEvent(Gone, { consumer: 'billing' })
  async gone(@Payload() order: Order | null, @Meta() meta: EventMeta) {
    seen.push({ handler: 'gone', payload: order, meta });
  }

  @ConsumeEvent(Held, { consumer: 'billing', retry: quick })
  async held(@Payload() order: Order, @Tx() tx: EntityManager) {
    failures += 1;
    if (failures <= 10) throw new Error('not yet');
    await tx.query('insert into consumed values ($1)', [order.id]);
  }

  @ConsumeEvent(Waiting, { consumer: 'billing', retry: { minDelay: 60_000, maxDelay: 60_000 } })
  async waiting() {
    failures += 1;
    throw new Error('not today');
  }
}

let ds: DataSource;
let mod: TestingModule;

before(async () => {
  Logger.overrideLogger(false);
  ds = await connect();
  await ds.query('create table if not exists consumed (id text)');
  await ds.query('create table if not exists consumed_parents (id text primary key)');
  await ds.query('create table if not exists consumed_deferred (id text references consumed_parents deferrable initially deferred)');
  mod = await build();
});
after(async () => {
  await mod?.close();
  await ds?.destroy();
});

async function build(): Promise<TestingModule> {
  @Module({ providers: [{ provide: DataSource, useValue: ds }], exports: [DataSource] })
  class DatabaseModule {}
  return Test.createTestingModule({
    imports: [
      ClsModule.forRoot({
        plugins: [
          new ClsPluginTransactional({ imports: [DatabaseModule], adapter: new TransactionalAdapterTypeOrm({ dataSourceToken: DataSource }) }),
        ],
      }),
      OutboxModule.forRoot(),
    ],
    controllers: [Consumer],
    providers: [Invoices],
  }).compile();
}

const rows = (id: string) => count(ds, `consumed where id = '${id}'`);
const inboxRows = (id: string) => count(ds, `outbox.inbox where message_id = '${id}'`);
const letters = (id: string): Promise<any[]> =>
  ds.query(`select topic, key, type, payload, payload_bytes, headers from outbox.events where headers->>'x-original-id' = $1`, [id]);
const attempts = (handler: string, id: string) => seen.filter((one) => one.handler === handler && one.meta.id === id).map(({ meta }) => meta.attempt);

let next = 0;
const newId = () => `0198c0de-0000-7000-8000-${leg === 'nest11' ? 1 : 2}${String((next += 1)).padStart(11, '0')}`;

test('an event is handled once, however often it comes', async () => {
  const id = newId();
  await deliver(mod, Placed, { id: 'once', total: '9.90' }, { id, headers: { tenant: 'acme', odd: '{"t":7}' }, key: '{"t":7}' });
  await deliver(mod, Placed, { id: 'once', total: '9.90' }, { id });
  assert.deepEqual([await rows('once'), await inboxRows(id), attempts('placed', id)], [1, 1, [1]]);
  const { payload, meta } = seen.find((one) => one.meta.id === id)!;
  assert.deepEqual(payload, { id: 'once', total: '9.90' });
  assert.equal(meta.topic, topic);
  assert.equal(meta.type, 'Placed');
  assert.equal(meta.partition, 0);
  assert.ok(meta.createdAt instanceof Date);
  // Nest's parser made objects of both.
  assert.equal(meta.key, '{"t":7}');
  assert.equal(meta.headers['odd'], '{"t":7}');
});

test('two deliveries at the same time are one', async () => {
  const id = newId();
  await Promise.all(Array.from({ length: 5 }, () => deliver(mod, Placed, { id: 'together', total: '1' }, { id })));
  assert.deepEqual([await rows('together'), attempts('placed', id)], [1, [1]]);
});

test('another type is left alone', async () => {
  const id = newId();
  await deliver(mod, Placed, { id: 'unknown', total: '1' }, { id, type: 'SomethingElse' });
  assert.deepEqual([await rows('unknown'), await inboxRows(id)], [0, 0]);
});

test('a service with @Transactional() joins the transaction of the handler', async () => {
  const id = newId();
  await deliver(mod, Paid, { id: 'joined', total: '1' }, { id });
  await deliver(mod, Paid, { id: 'joined', total: '1' }, { id });
  assert.deepEqual([await rows('joined'), await inboxRows(id)], [1, 1]);
});

test('what always fails becomes a dead letter, with the bytes and the key it had', async () => {
  const id = newId();
  await deliver(mod, Failing, { id: 'fails', total: '1' }, { id, headers: { tenant: 'acme' } });
  await deliver(mod, Failing, { id: 'fails', total: '1' }, { id });
  assert.deepEqual([await rows('fails'), await inboxRows(id), attempts('failing', id)], [0, 1, [1, 2, 3]]);
  const [letter, ...others] = await letters(id);
  assert.equal(others.length, 0);
  assert.equal(letter.topic, `${topic}.billing.dlq`);
  assert.equal(letter.key, 'fails');
  assert.equal(letter.type, 'Failing');
  assert.equal(letter.payload_bytes.toString(), '{"id":"fails","total":"1"}');
  assert.equal(letter.headers['x-error'], 'Error: it never works');
  assert.equal(letter.headers['x-attempts'], '3');
  assert.equal(letter.headers['tenant'], 'acme');
});

test('what can never work is not tried again', async () => {
  const [rejected, checked, validated] = [newId(), newId(), newId()];
  await deliver(mod, Rejected, { id: 'rejected', total: '1' }, { id: rejected });
  assert.deepEqual([await rows('rejected'), attempts('rejected', rejected)], [0, [1]]);
  assert.equal((await letters(rejected))[0].topic, `${topic}.graveyard`);

  await deliver(mod, Checked, { total: 'secret' } as never, { id: checked });
  const [letter] = await letters(checked);
  assert.equal(letter.headers['x-error'], 'OutboxSchemaError: Checked: the payload does not match the schema at id');
  assert.equal(letter.headers['x-attempts'], '1');

  await deliver(mod, Validated, { id: 7 } as never, { id: validated });
  assert.equal((await letters(validated))[0].headers['x-attempts'], '1');
  assert.deepEqual(attempts('validated', validated), []);
});

test('a failure at the commit counts too', async () => {
  const id = newId();
  await deliver(mod, Deferred, { id: 'no parent', total: '1' }, { id });
  assert.equal((await letters(id))[0].headers['x-attempts'], '3');
  assert.equal(await inboxRows(id), 1);
});

test('a database that goes away is not the event\'s fault', async () => {
  failures = 0;
  const id = newId();
  await deliver(mod, Outage, { id: 'outage', total: '1' }, { id });
  assert.deepEqual([await rows('outage'), (await letters(id)).length, failures], [1, 0, quick.attempts + 3]);
});

test('nor is a database that hangs or cannot be reached, whatever the client says of it', async () => {
  const faults = [
    Object.assign(new Error('connect EHOSTUNREACH 192.0.2.1:5432'), { code: 'EHOSTUNREACH' }),
    Object.assign(new Error('connect ENETUNREACH 192.0.2.1:5432'), { code: 'ENETUNREACH' }),
    new Error('Knex: Timeout acquiring a connection. The pool is probably full. Are you missing a .transacting(trx) call?'),
    Object.assign(new Error('Transaction API error: Unable to start a transaction in the given time.'), { code: 'P2028' }),
  ];

  @Controller()
  class Patient {
    @ConsumeEvent(Placed, { consumer: 'patient', retry: { attempts: 1, minDelay: 1 }, deadLetter: true })
    async placed(@Payload() { id }: Order, @Tx() tx: EntityManager) {
      await tx.query('insert into consumed values ($1)', [id]);
    }
  }
  let fault: Error | undefined; // of the next transaction
  const transaction = <T>(work: (tx: EntityManager) => Promise<T>): Promise<T> => {
    const failure = fault;
    fault = undefined;
    return failure === undefined ? ds.transaction(work) : Promise.reject(failure);
  };
  const patient = await Test.createTestingModule({ imports: [OutboxModule.forRoot({ transaction })], controllers: [Patient] }).compile();
  for (fault of faults) {
    const { message } = fault;
    const id = newId();
    await deliver(patient, Placed, { id, total: '1' }, { id });
    assert.deepEqual([await rows(id), (await letters(id)).length, fault], [1, 0, undefined], message);
  }
  await patient.close();
});

test('a tombstone is null, not the message', async () => {
  const id = newId();
  await deliver(mod, Gone, tombstone, { id, key: '42' });
  const { payload, meta } = seen.find((one) => one.meta.id === id)!;
  assert.deepEqual([payload, meta.key], [null, '42']);
});

test('without a dead letter the event waits until it works', async () => {
  failures = 0;
  const id = newId();
  await deliver(mod, Held, { id: 'held', total: '1' }, { id });
  assert.deepEqual([await rows('held'), failures, (await letters(id)).length], [1, 11, 0]);
});

test('a shutdown does not wait for a retry, and the event comes again', async () => {
  failures = 0;
  const id = newId();
  const other = await build();
  const delivered = deliver(other, Waiting, { id: 'waiting', total: '1' }, { id });
  const outcome = assert.rejects(delivered);
  while (failures === 0) await new Promise((resolve) => setImmediate(resolve));
  await other.close();
  await outcome;
  assert.equal(await inboxRows(id), 0);
});

/** A record whose handler waits for a minute, as kafkajs hands it over. */
const received = (heartbeat = async () => undefined) => {
  const headers = { id: Buffer.from(newId()), type: Buffer.from('Waiting') };
  const message = { key: null, value: Buffer.from('{"id":"received","total":"1"}'), headers, timestamp: '0', attributes: 0, offset: '1' };
  return { topic, partition: 0, message, heartbeat, pause: () => () => undefined };
};

test('a server that closes does not wait for a retry', async () => {
  failures = 0;
  const server = new ServerKafka({});
  const app = (await build()).createNestMicroservice({ strategy: server });
  await app.init();
  let handled: Promise<unknown> | undefined;
  // kafkajs, too, waits for the record that is being handled.
  Object.assign(server, { consumer: { disconnect: async () => void (await handled!.catch(() => undefined)) } });
  handled = server.handleMessage(received());
  const outcome = assert.rejects(handled);
  while (failures === 0) await new Promise((resolve) => setImmediate(resolve));
  await app.close();
  await outcome;
});

test('many records can wait at once, without a warning of a leak', async () => {
  const warnings: string[] = [];
  const warned = (warning: Error) => void warnings.push(warning.message);
  process.on('warning', warned);
  const server = new ServerKafka({});
  const app = (await build()).createNestMicroservice({ strategy: server });
  await app.init();
  let handled: Promise<unknown>[] = [];
  Object.assign(server, { consumer: { disconnect: async () => void (await Promise.allSettled(handled)) } });
  handled = Array.from({ length: 12 }, () => server.handleMessage(received()));
  const outcomes = Promise.all(handled.map((one) => assert.rejects(one)));
  const health = app.get(OutboxHealthIndicator, { strict: false });
  await eventually('all wait', async () => (await health.isHealthy('outbox', ds)).outbox.retrying === handled.length);
  await app.close();
  await outcomes;
  process.off('warning', warned);
  assert.deepEqual(warnings, []);
});

test('a retry does not keep kafkajs from joining the group again', async () => {
  failures = 0;
  const server = new ServerKafka({});
  const app = (await build()).createNestMicroservice({ strategy: server });
  await app.init();
  const [slow, rebalancing] = ['REQUEST_TIMED_OUT', 'REBALANCE_IN_PROGRESS'].map((type) => Object.assign(new Error(type), { type }));
  let beats = 0;
  const heartbeat = () => Promise.reject((beats += 1) === 1 ? slow : rebalancing);
  await assert.rejects(server.handleMessage(received(heartbeat)), (error) => error === rebalancing);
  assert.deepEqual([failures, beats], [1, 2]);
  await app.close();
});

test('a pause is never skipped: neither without its options, nor where it is longer than a timer can be', async () => {
  @Controller()
  class Patient {
    @ConsumeEvent(Placed, { consumer: 'default', retry: { attempts: undefined, minDelay: undefined, maxDelay: undefined } }) async first() {
      throw new Error('not today');
    }
    @ConsumeEvent(Placed, { consumer: 'patient', retry: { minDelay: 2 ** 40, maxDelay: Infinity } }) async second() {
      throw new Error('not today');
    }
  }
  const pauses: string[] = [];
  const warn = (line: unknown) => void pauses.push(/^(\w+) failed .* next try in (.+?) ms/.exec(String(line))!.slice(1).join(' '));
  const patient = await Test.createTestingModule({ imports: [OutboxModule.forRoot({ transaction: (work) => ds.transaction(work) })], controllers: [Patient] })
    .setLogger({ log: () => undefined, error: () => undefined, warn })
    .compile();
  const outcome = assert.rejects(deliver(patient, Placed, { id: 'patient', total: '1' }));
  while (pauses.length < 2) await new Promise((resolve) => setImmediate(resolve));
  await patient.close();
  await outcome;
  assert.deepEqual(pauses.sort(), ['default 200', 'patient 2147483647']);
});

test('two handlers with one name for one event are refused', async () => {
  @Controller()
  class One {
    @ConsumeEvent(Placed, { consumer: 'billing' }) first() {}
    @ConsumeEvent(Placed, { consumer: 'billing' }) second() {}
  }
  const twins = await Test.createTestingModule({ imports: [OutboxModule.forRoot({ transaction: (work) => ds.transaction(work) })], controllers: [One] }).compile();
  await assert.rejects(twins.init(), /One\.first and One\.second both handle .* as consumer "billing"/);
  assert.throws(() => ConsumeEvent(Placed, { consumer: '' }), /consumer is missing/);
});

test('a transaction of any client will do', async () => {
  @Controller()
  class One {
    @ConsumeEvent(Placed, { consumer: 'own runner' })
    async handle(@Payload() order: Order, @Tx() tx: EntityManager) {
      await tx.query('insert into consumed values ($1)', [order.id]);
    }
  }
  const own = await Test.createTestingModule({ imports: [OutboxModule.forRoot({ transaction: (work) => ds.transaction(work) })], controllers: [One] }).compile();
  const id = newId();
  await deliver(own, Placed, { id: 'own', total: '1' }, { id });
  await deliver(own, Placed, { id: 'own', total: '1' }, { id });
  assert.equal(await rows('own'), 1);
  await own.close();
});
