import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { Injectable, Module } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { ClsPluginTransactional, Transactional, TransactionHost } from '@nestjs-cls/transactional';
import { TransactionalAdapterTypeOrm } from '@nestjs-cls/transactional-adapter-typeorm';
import { context, propagation, trace, type TextMapPropagator } from '@opentelemetry/api';
import { ClsModule } from 'nestjs-cls';
import { Pool } from 'pg';
import { DataSource } from 'typeorm';
import { defineEvent, Emits, OutboxHealthIndicator, OutboxModule, OutboxService, OutboxTransactionRequiredError, RelayOutboxStore } from '@outboxrelay/nestjs';
import { OutboxRecorder, OutboxTestingModule } from '@outboxrelay/nestjs/testing';
import { connect, count, leg, nestVersion } from './support';

interface Order {
  id: string;
  total: string;
}

const OrderPlaced = defineEvent<Order>()({ topic: `${leg}-emit`, type: 'OrderPlaced', key: (order) => order.id });

@Injectable()
class Orders {
  constructor(
    private readonly outbox: OutboxService,
    private readonly host: TransactionHost<TransactionalAdapterTypeOrm>,
  ) {}

  @Transactional()
  async place(order: Order, fail = false): Promise<void> {
    await this.save(order);
    await this.outbox.emit(OrderPlaced, order);
    if (fail) throw new Error('no');
  }

  async placeOutside(order: Order): Promise<void> {
    await this.outbox.emit(OrderPlaced, order);
  }

  @Emits(OrderPlaced, (order: Order) => order)
  async placeShort(order: Order): Promise<Order> {
    await this.save(order);
    return order;
  }

  @Emits(OrderPlaced, (order: Order) => order)
  @Transactional()
  async placeUnder(order: Order, fail = false): Promise<Order> {
    await this.save(order);
    if (fail) throw new Error('no');
    return order;
  }

  @Transactional()
  @Emits(OrderPlaced, (order: Order, _order: Order, fail: boolean) => (fail ? { id: 'a\0b', total: '' } : order))
  async placeOver(order: Order, _fail: boolean): Promise<Order> {
    await this.save(order);
    return order;
  }

  @Emits(OrderPlaced, () => undefined)
  async placeSilently(order: Order): Promise<Order> {
    await this.save(order);
    return order;
  }

  private async save({ id, total }: Order): Promise<void> {
    await this.host.tx.query('insert into emitted_orders values ($1, $2)', [id, total]);
  }
}

let ds: DataSource;
let mod: TestingModule;
let orders: Orders;
let outbox: OutboxService;

before(async () => {
  ds = await connect();
  await ds.query('create table if not exists emitted_orders (id text primary key, total text)');

  @Module({ providers: [{ provide: DataSource, useValue: ds }], exports: [DataSource] })
  class DatabaseModule {}

  mod = await Test.createTestingModule({
    imports: [
      ClsModule.forRoot({
        plugins: [
          new ClsPluginTransactional({ imports: [DatabaseModule], adapter: new TransactionalAdapterTypeOrm({ dataSourceToken: DataSource }) }),
        ],
      }),
      OutboxModule.forRootAsync({ useFactory: () => ({}) }),
      OutboxTestingModule,
    ],
    providers: [Orders],
  }).compile();
  orders = mod.get(Orders);
  outbox = mod.get(OutboxService);
});
after(async () => {
  await mod?.close();
  await ds?.destroy();
});

/** Whether the order is there, and how many events of it are. */
async function written(id: string): Promise<[orders: number, events: number]> {
  return [await count(ds, `emitted_orders where id = '${id}'`), await count(ds, `outbox.events where topic = '${OrderPlaced.topic}' and key = '${id}'`)];
}

test('runs on the version of Nest it is meant for', () => {
  assert.equal(`nest${nestVersion().split('.')[0]}`, leg);
});

test('an explicit transaction: the event is there exactly when the change is', async () => {
  const place = (id: string, fail: boolean) =>
    ds.transaction(async (em) => {
      await em.query('insert into emitted_orders values ($1, $2)', [id, '1']);
      const ids = await outbox.emit(em, OrderPlaced, { id, total: '1' }, { headers: { tenant: 'acme' } });
      assert.equal(ids.length, 1);
      if (fail) throw new Error('no');
    });
  await place('explicit', false);
  await assert.rejects(place('explicit-failed', true), /no/);
  assert.deepEqual(await written('explicit'), [1, 1]);
  assert.deepEqual(await written('explicit-failed'), [0, 0]);
  const [row] = await ds.query(`select type, payload::text, headers from outbox.events where key = 'explicit' and topic = '${OrderPlaced.topic}'`);
  assert.deepEqual(row, { type: 'OrderPlaced', payload: '{"id":"explicit","total":"1"}', headers: { tenant: 'acme' } });
});

test('a savepoint that is rolled back takes its events along', async () => {
  await ds.transaction(async (em) => {
    await outbox.emit(em, OrderPlaced, { id: 'savepoint-kept', total: '1' });
    await assert.rejects(
      em.transaction(async (inner) => {
        await outbox.emit(inner, OrderPlaced, { id: 'savepoint-gone', total: '1' });
        throw new Error('no');
      }),
    );
  });
  assert.deepEqual(await written('savepoint-kept'), [0, 1]);
  assert.deepEqual(await written('savepoint-gone'), [0, 0]);
});

test('the ambient transaction is joined', async () => {
  await orders.place({ id: 'ambient', total: '1' });
  await assert.rejects(orders.place({ id: 'ambient-failed', total: '1' }, true), /no/);
  assert.deepEqual(await written('ambient'), [1, 1]);
  assert.deepEqual(await written('ambient-failed'), [0, 0]);
});

test('without a transaction nothing is written', async () => {
  await assert.rejects(orders.placeOutside({ id: 'outside', total: '1' }), OutboxTransactionRequiredError);
  await assert.rejects(outbox.emit(ds, OrderPlaced, { id: 'outside', total: '1' }), OutboxTransactionRequiredError);
  await assert.rejects(outbox.emit(ds.manager, OrderPlaced, { id: 'outside', total: '1' }), OutboxTransactionRequiredError);
  assert.deepEqual(await written('outside'), [0, 0]);
});

test('@Emits emits the result in the transaction, whatever the order of the decorators', async () => {
  await orders.placeShort({ id: 'emits', total: '1' });
  await orders.placeUnder({ id: 'emits-under', total: '1' });
  await assert.rejects(orders.placeUnder({ id: 'emits-under-failed', total: '1' }, true), /no/);
  await orders.placeOver({ id: 'emits-over', total: '1' }, false);
  // The event is refused, so the order must go too.
  await assert.rejects(orders.placeOver({ id: 'emits-over-failed', total: '1' }, true), /key/);
  await orders.placeSilently({ id: 'emits-nothing', total: '1' });
  assert.deepEqual(await written('emits'), [1, 1]);
  assert.deepEqual(await written('emits-under'), [1, 1]);
  assert.deepEqual(await written('emits-under-failed'), [0, 0]);
  assert.deepEqual(await written('emits-over'), [1, 1]);
  assert.deepEqual(await written('emits-over-failed'), [0, 0]);
  assert.deepEqual(await written('emits-nothing'), [1, 0]);
});

test('the recorder tells what committed', async () => {
  const recorder = mod.get(OutboxRecorder);
  recorder.clear();
  await orders.place({ id: 'recorded', total: '1' });
  await assert.rejects(orders.place({ id: 'recorded-failed', total: '1' }, true));
  assert.deepEqual(await recorder.of(OrderPlaced, ds), [{ id: 'recorded', total: '1' }]);
});

test('the active trace goes along', async () => {
  const key = Symbol('trace');
  const propagator: TextMapPropagator = {
    inject: (active, carrier, setter) => setter.set(carrier, 'traceparent', String(active.getValue(key as never) ?? '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01')),
    extract: (active) => active,
    fields: () => ['traceparent'],
  };
  propagation.setGlobalPropagator(propagator);
  try {
    await orders.place({ id: 'traced', total: '1' });
  } finally {
    propagation.disable();
    context.disable();
    trace.disable();
  }
  const [row] = await ds.query(`select headers from outbox.events where key = 'traced' and topic = '${OrderPlaced.topic}'`);
  assert.deepEqual(row.headers, { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' });
});

test('health says what is wrong', async () => {
  const health = mod.get(OutboxHealthIndicator);
  assert.deepEqual(await health.isHealthy('outbox', ds), { outbox: { status: 'up', retrying: 0 } });
  const elsewhere = new OutboxHealthIndicator({ schema: 'nowhere' }, { retrying: 0 } as never);
  const { outbox: down } = await elsewhere.isHealthy('outbox', ds);
  assert.equal(down.status, 'down');
  assert.match(down.message!, /no table "nowhere"\.events.*relay migrate up/);
});

test('health does not wait for a database that hangs, nor take more than one connection for it', async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => void sockets.push(socket)).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const pool = new Pool({ host: '127.0.0.1', port: (silent.address() as AddressInfo).port, user: 'nobody' });
  const health = new OutboxHealthIndicator({}, { retrying: 2 } as never);
  const check = () => health.isHealthy('outbox', pool, { timeout: 50 });
  const down = { outbox: { status: 'down', retrying: 2, message: 'the database has not answered within 50 ms' } };
  try {
    const began = performance.now();
    assert.deepEqual(await Promise.all([check(), check()]), [down, down]);
    assert.deepEqual(await check(), down);
    assert.ok(performance.now() - began < 5000);
    assert.equal(sockets.length, 1);
    const answered = health.isHealthy('outbox', pool, { timeout: Infinity });
    for (const socket of sockets) socket.destroy(); // what was not waited for any more fails now, and nobody is told
    assert.match((await answered).outbox.message!, /terminated/);
  } finally {
    for (const socket of sockets) socket.destroy();
    silent.close();
    await pool.end();
  }
});

test('health leaves no timer behind, and has a reason where the error has no words', async () => {
  const health = new OutboxHealthIndicator({}, { retrying: 0 } as never);
  const pool = (query: () => Promise<unknown>) => ({ totalCount: 0, connect() {}, query });
  const timers = () => process.getActiveResourcesInfo().filter((one) => one === 'Timeout').length;
  const before = timers();
  const up = await health.isHealthy('outbox', pool(async () => ({ rows: [{ present: true, writable: true }] })), { timeout: 60_000 });
  assert.deepEqual([up.outbox.status, timers()], ['up', before]);
  const refused = pool(async () => {
    throw Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' });
  });
  assert.deepEqual(await health.isHealthy('outbox', refused), { outbox: { status: 'down', retrying: 0, message: 'ECONNREFUSED' } });
  assert.equal(timers(), before);
});

test('RelayOutboxStore takes the messages of @nestjs/outbox', async () => {
  const store = new RelayOutboxStore();
  const now = Date.now();
  const message = { topic: OrderPlaced.topic, payload: { key: 'k', value: 1 }, headers: { a: 'b' }, createdAt: now, attempts: 0, lastError: null };
  await assert.rejects(store.add(ds.manager, [{ ...message, id: '0198c0de-0000-7000-8000-00000000000a', key: 'store', availableAt: now }]), OutboxTransactionRequiredError);
  const at = now + 3_600_000;
  await ds.transaction((em) =>
    store.add(em, [
      { ...message, id: newId(1), key: 'store', availableAt: now },
      { ...message, id: newId(2), key: null, availableAt: at },
    ]),
  );
  const rows = await ds.query(`select key, payload::text, headers, deliver_at from outbox.events where id in ($1, $2) order by id`, [newId(1), newId(2)]);
  assert.deepEqual(rows, [
    { key: 'store', payload: '{"key":"k","value":1}', headers: { a: 'b' }, deliver_at: null },
    { key: null, payload: '{"key":"k","value":1}', headers: { a: 'b' }, deliver_at: new Date(at) },
  ]);
  assert.deepEqual(store.claim(), []);
});

const newId = (n: number): string => `0198c0de-0000-7000-8000-00000000001${n}`;
