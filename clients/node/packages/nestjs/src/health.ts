import { Inject, Injectable } from '@nestjs/common';
import { transactionOf } from '@outboxrelay/core';
import { EventConsumer } from './event-consumer';
import { OUTBOX_OPTIONS, type OutboxModuleOptions } from './options';

export type OutboxHealth = {
  readonly status: 'up' | 'down';
  /** How many events are being tried again now, in this process. */
  readonly retrying: number;
  readonly message?: string;
};

export interface HealthOptions {
  /** How long the database may take to answer, in ms. Default: 1000. */
  readonly timeout?: number;
}

const longestTimer = 2 ** 31 - 1; // of setTimeout, which takes a longer one for none

/** In the shape of `@nestjs/terminus`: `health.check([() => outbox.isHealthy('outbox', dataSource)])`. */
@Injectable()
export class OutboxHealthIndicator {
  private readonly unanswered = new Map<unknown, Promise<string | undefined>>(); // by handle

  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: OutboxModuleOptions,
    @Inject(EventConsumer) private readonly consumer: EventConsumer,
  ) {}

  /**
   * Up when the database answers through `handle`, a data source or a pool, in time, and the outbox takes this role's
   * events. It does not throw: what is wrong is in the answer. Whether events leave is the relay's health, not this
   * service's.
   */
  async isHealthy<Key extends string>(key: Key, handle: unknown, { timeout = 1000 }: HealthOptions = {}): Promise<Record<Key, OutboxHealth>> {
    const message = await within(timeout, this.ask(handle));
    const health: OutboxHealth = { status: message === undefined ? 'up' : 'down', retrying: this.consumer.retrying, ...(message && { message }) };
    return { [key]: health } as Record<Key, OutboxHealth>;
  }

  /** A question that has no answer yet is not put again: each would keep a connection of the service's pool. */
  private ask(handle: unknown): Promise<string | undefined> {
    let answer = this.unanswered.get(handle);
    if (answer === undefined) {
      answer = this.problem(handle).finally(() => this.unanswered.delete(handle));
      this.unanswered.set(handle, answer);
    }
    return answer;
  }

  /** What is wrong; undefined if nothing is. It does not reject, for nobody may be waiting any more. */
  private async problem(handle: unknown): Promise<string | undefined> {
    const table = `${quote(this.options.schema ?? 'outbox')}.events`;
    try {
      const [row] = await transactionOf(handle, { requireTransaction: false }).query(
        `select t.found is not null as present, has_any_column_privilege(t.found, 'insert') as writable
           from (select to_regclass($1::text)::oid as found) t`,
        [table],
      );
      if (row?.['present'] !== true) return `there is no table ${table}: apply the migrations (relay migrate up)`;
      if (row['writable'] !== true) return `this role may not insert into ${table}: grant it (relay migrate up --grant-writer ROLE)`;
      return undefined;
    } catch (error) {
      return reasonOf(error);
    }
  }
}

async function within(timeout: number, answer: Promise<string | undefined>): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, Math.min(timeout, longestTimer), `the database has not answered within ${timeout} ms`);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Where a name has two addresses and both refuse, Node's error has a code and no message. */
const reasonOf = (error: unknown): string =>
  error instanceof Error ? error.message || String((error as NodeJS.ErrnoException).code ?? error.name) : String(error);

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;
