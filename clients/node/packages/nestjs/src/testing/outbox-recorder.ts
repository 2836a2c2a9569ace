import { Injectable } from '@nestjs/common';
import { transactionOf, type EventDefinition } from '@outboxrelay/core';
import { Inject } from '@nestjs/common';
import { OUTBOX_OPTIONS, type OutboxModuleOptions } from '../options';
import type { EmitObserver } from '../outbox.service';

interface Recorded {
  readonly event: EventDefinition<any, any>;
  readonly id: string;
  readonly payload: unknown;
}

/** Remembers what was emitted, and asks the database what of it committed. */
@Injectable()
export class OutboxRecorder implements EmitObserver {
  private recorded: Recorded[] = [];

  constructor(@Inject(OUTBOX_OPTIONS) private readonly options: OutboxModuleOptions) {}

  emitted(event: EventDefinition<any, any>, ids: readonly string[], payloads: readonly unknown[]): void {
    ids.forEach((id, index) => this.recorded.push({ event, id, payload: payloads[index] }));
  }

  /**
   * The payloads of the event that were emitted through OutboxService and whose transaction committed, in the order in
   * which they were emitted. What rolled back, savepoints too, is not among them. `handle` is a data source or a pool.
   */
  async of<Payload>(event: EventDefinition<Payload, any>, handle: unknown): Promise<Payload[]> {
    const emitted = this.recorded.filter((one) => one.event === event);
    const schema = `"${(this.options.schema ?? 'outbox').replaceAll('"', '""')}"`;
    const rows = await transactionOf(handle, { requireTransaction: false }).query(
      `select id::text as id from ${schema}.events where id = any(string_to_array($1::text, ',')::uuid[])`,
      [emitted.map(({ id }) => id).join(',')],
    );
    const committed = new Set(rows.map((row) => row['id']));
    return emitted.filter(({ id }) => committed.has(id)).map(({ payload }) => payload as Payload);
  }

  /** Forgets everything, so that the next test begins with nothing. */
  clear(): void {
    this.recorded = [];
  }
}
