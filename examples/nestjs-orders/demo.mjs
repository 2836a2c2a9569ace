// Places orders, kills billing half-way, starts it again, and ends when each order has its invoice. Then, with --bench,
// places 100 orders a second and prints how long they took from the HTTP request to the handler.
//
// Without Docker: PostgreSQL and Kafka are started from what `make setup` brought, and end with this program.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

const bench = process.argv.includes('--bench');
const wanted = Number(process.env.ORDERS ?? 60);
const benchSeconds = Number(process.env.BENCH_SECONDS ?? 20);
const here = import.meta.dirname;
const repository = new URL('../..', import.meta.url).pathname;
const children = new Set();

function start(command, args, options) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], ...options });
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

async function firstLine(child, what) {
  const [line] = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line'),
    once(child, 'exit').then(([code]) => Promise.reject(new Error(`${what} ended with code ${code}`))),
  ]);
  return line;
}

async function stop(child, signal) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  if (signal) child.kill(signal);
  else child.stdin.end();
  await ended;
}

async function eventually(what, claim) {
  const deadline = Date.now() + 60_000;
  while (!(await claim())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within a minute`);
    await sleep(20);
  }
}

const percentile = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))];

async function main() {
  const stack = start('go', ['run', '-buildvcs=false', './internal/devenv/stack', '-relay', 'orders', '-relay', 'billing', '-topic', 'orders=4', '-topic', 'orders.billing.dlq=4'], { cwd: repository });
  const { brokers, databases } = JSON.parse(await firstLine(stack, 'the servers'));
  const service = (name, url) =>
    start(process.execPath, [`${here}/dist/${name}/main.js`], {
      env: { ...process.env, DATABASE_URL: url, KAFKA_BROKERS: brokers.join(','), PORT: '0', SESSION_TIMEOUT: '1000' },
    });
  const [orders, billing] = [new pg.Pool({ connectionString: databases.orders }), new pg.Pool({ connectionString: databases.billing })];
  // The servers end before the pools do.
  for (const pool of [orders, billing]) pool.on('error', () => {});
  const count = async (pool, what) => (await pool.query(`select count(*)::integer as n from ${what}`)).rows[0].n;

  const url = await firstLine(service('orders', databases.orders), 'orders');
  const place = async () => {
    const response = await fetch(`${url}/orders`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ total: '9.90' }),
    });
    if (response.status !== 201) throw new Error(`POST /orders answered ${response.status}`);
  };

  let consumer = service('billing', databases.billing);
  await firstLine(consumer, 'billing');
  for (let i = 0; i < wanted; i += 1) {
    await place();
    if (i === Math.floor(wanted / 2)) {
      await eventually('some invoices', async () => (await count(billing, 'invoices')) > wanted / 4);
      await stop(consumer, 'SIGKILL');
      console.log(`billing killed at ${await count(billing, 'invoices')} invoices, ${i + 1} orders`);
    }
  }
  consumer = service('billing', databases.billing);
  await firstLine(consumer, 'billing');
  await eventually('an invoice for each order', async () => (await count(billing, 'invoices')) >= wanted);
  const [placed, invoiced, distinct] = [
    await count(orders, 'orders'),
    await count(billing, 'invoices'),
    await count(billing, '(select distinct "orderId" from invoices) i'),
  ];
  console.log(`orders ${placed}`);
  console.log(`invoices ${invoiced}`);
  if (placed !== wanted || invoiced !== placed || distinct !== placed) throw new Error(`${placed} orders, ${invoiced} invoices of ${distinct} orders`);

  if (bench) {
    await billing.query('truncate invoices');
    const begin = Date.now();
    const requests = [];
    for (let i = 0; i < benchSeconds * 100; i += 1) {
      await sleep(Math.max(0, begin + i * 10 - Date.now()));
      requests.push(place());
    }
    await Promise.all(requests);
    await eventually('all invoices', async () => (await count(billing, 'invoices')) === requests.length);
    const latencies = (await billing.query('select latency from invoices order by latency')).rows.map((row) => row.latency);
    console.log(`HTTP request to handler, ${requests.length} orders at 100/s: p50 ${percentile(latencies, 0.5)} ms, p99 ${percentile(latencies, 0.99)} ms`);
  }
  await Promise.all([orders.end(), billing.end()]);
}

try {
  await main();
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  const [stack, ...services] = children;
  await Promise.all(services.map((child) => stop(child, 'SIGTERM')));
  if (stack) await stop(stack);
}
