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

/** In the shape of `@nestjs/terminus`: `health.check([() => outbox.isHealthy('outbox', dataSource)])`. */
@Injectable()
export class OutboxHealthIndicator {
  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: OutboxModuleOptions,
    @Inject(EventConsumer) private readonly consumer: EventConsumer,
  ) {}

  /**
   * Up when the database answers through `handle`, a data source or a pool, and the outbox takes this role's events.
   * It does not throw: what is wrong is in the answer. Whether events leave is the relay's health, not this service's.
   */
  async isHealthy<Key extends string>(key: Key, handle: unknown): Promise<Record<Key, OutboxHealth>> {
    const table = `${quote(this.options.schema ?? 'outbox')}.events`;
    let message: string | undefined;
    try {
      const [row] = await transactionOf(handle, { requireTransaction: false }).query(
        `select t.found is not null as present, has_any_column_privilege(t.found, 'insert') as writable
           from (select to_regclass($1::text)::oid as found) t`,
        [table],
      );
      if (row?.['present'] !== true) message = `there is no table ${table}: apply the migrations (relay migrate up)`;
      else if (row['writable'] !== true) message = `this role may not insert into ${table}: grant it (relay migrate up --grant-writer ROLE)`;
    } catch (error) {
      message = error instanceof Error ? error.message : String(error);
    }
    const health: OutboxHealth = { status: message === undefined ? 'up' : 'down', retrying: this.consumer.retrying, ...(message && { message }) };
    return { [key]: health } as Record<Key, OutboxHealth>;
  }
}

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;
