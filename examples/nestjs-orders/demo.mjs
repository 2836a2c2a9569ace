// Places orders, kills billing half-way, starts it again, and ends when each order has its invoice. Then, with --bench,
// places 100 orders a second and prints how long they took from the HTTP request to the handler: --seconds N of them (20),
// after 10 seconds that do not count.
//
// Without Docker: PostgreSQL and Kafka are started from what `make setup` brought, and end with this program.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import pg from 'pg';

const { values: options } = parseArgs({ options: { bench: { type: 'boolean' }, seconds: { type: 'string', default: '20' } } });
const seconds = Number(options.seconds);
if (!(seconds > 0)) throw new Error(`--seconds ${options.seconds}: give a number above 0`);
const wanted = Number(process.env.ORDERS ?? 60);
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

/** Posts JSON and returns the answer. The agent false opens a connection for it alone. */
async function post(url, body, agent) {
  const asked = request(url, { method: 'POST', agent, headers: { 'content-type': 'application/json' } });
  asked.end(JSON.stringify(body));
  const [response] = await once(asked, 'response');
  const chunks = await response.toArray();
  if (response.statusCode !== 201) throw new Error(`POST ${url} answered ${response.statusCode}`);
  return JSON.parse(Buffer.concat(chunks).toString());
}

/**
 * 100 orders a second, each at its time whether or not earlier ones were answered. An order's latency begins when it was to
 * be sent: what waits in this program or in a socket counts too.
 */
async function measure(place, billing) {
  const rate = 100;
  const warmUp = 10;
  const begin = Date.now();
  const placed = [];
  // Each connection has its turn, so that none is idle for the five seconds after which the server closes it.
  const agent = new Agent({ keepAlive: true, scheduling: 'fifo', maxSockets: 20 });
  for (let i = 0; i < (warmUp + seconds) * rate; i += 1) {
    const due = begin + (i * 1000) / rate;
    if (due > Date.now()) await sleep(due - Date.now());
    const answer = place(due, agent);
    answer.catch(() => {}); // it is told below, when all were sent
    placed.push(answer);
  }
  const ids = (await Promise.all(placed)).slice(warmUp * rate).map(({ id }) => id);
  agent.destroy();
  const latencies = async () => (await billing.query('select latency from invoices where "orderId" = any($1) order by latency', [ids])).rows.map((row) => row.latency);
  await eventually('all invoices', async () => (await latencies()).length === ids.length);
  const sorted = await latencies();
  const at = (p) => `${percentile(sorted, p)} ms`;
  console.log(`HTTP request to handler, ${ids.length} orders at ${rate}/s: p50 ${at(0.5)}, p95 ${at(0.95)}, p99 ${at(0.99)}, max ${at(1)}`);
}

const percentile = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))];

async function main() {
  const stack = start('go', ['run', '-buildvcs=false', './internal/devenv/stack', '-relay', 'orders', '-relay', 'billing', '-topic', 'orders=4', '-topic', 'orders.billing.dlq=4'], { cwd: repository });
  const { brokers, databases } = JSON.parse(await firstLine(stack, 'the servers'));
  const service = (name, url, more) =>
    start(process.execPath, [`${here}/dist/${name}/main.js`], {
      env: { ...process.env, DATABASE_URL: url, KAFKA_BROKERS: brokers.join(','), PORT: '0', ...more },
    });
  const [orders, billing] = [new pg.Pool({ connectionString: databases.orders }), new pg.Pool({ connectionString: databases.billing })];
  // The servers end before the pools do.
  for (const pool of [orders, billing]) pool.on('error', () => {});
  const count = async (pool, what) => (await pool.query(`select count(*)::integer as n from ${what}`)).rows[0].n;

  const url = await firstLine(service('orders', databases.orders), 'orders');
  const place = (requestedAt, agent = false) => post(`${url}/orders`, { total: '9.90', requestedAt }, agent);

  // It will be killed; a short session lets its successor have its partitions soon.
  let consumer = service('billing', databases.billing, { SESSION_TIMEOUT: '1000' });
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

  if (options.bench) await measure(place, billing);
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
