import 'reflect-metadata';
import { execFileSync } from 'node:child_process';
import { Kafka, logLevel } from 'kafkajs';
import { DataSource } from 'typeorm';

/** What test/run.ts started. */
interface Stack {
  readonly brokers: string[];
  readonly databases: Record<string, string>;
}

const stack: Stack = JSON.parse(process.env['STACK'] ?? fail('STACK is not set: run npm test, which starts the servers'));

/** nest11 or nest12: the version under test, and the beginning of its topics' names. */
export const leg = process.env['LEG'] ?? 'nest12';
export const brokers = stack.brokers;
export const database = stack.databases[leg]!;
export const gzipDatabase = stack.databases[`${leg}_gzip`]!;

export const kafka = new Kafka({ brokers, clientId: 'test', logLevel: logLevel.NOTHING });

export async function connect(url = database): Promise<DataSource> {
  return new DataSource({ type: 'postgres', url, extra: { max: 20 } }).initialize();
}

export async function createTopics(...names: string[]): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    await admin.createTopics({ waitForLeaders: true, topics: names.map((topic) => ({ topic, numPartitions: 2 })) });
  } finally {
    await admin.disconnect();
  }
}

/** Asks until the claim holds. */
export async function eventually(what: string, claim: () => Promise<boolean> | boolean, seconds = 30): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  while (!(await claim())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export async function count(ds: DataSource, from: string): Promise<number> {
  const [row] = await ds.query(`select count(*)::integer as n from ${from}`);
  return row.n;
}

/** The major version of Nest that this copy of the package runs on. */
export function nestVersion(): string {
  return execFileSync(process.execPath, ['-p', `require('@nestjs/core/package.json').version`], { cwd: __dirname, encoding: 'utf8' }).trim();
}

function fail(reason: string): never {
  throw new Error(reason);
}
