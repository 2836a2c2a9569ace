import { createOutbox, type Outbox, type OutboxOptions } from '@outboxrelay/core';

/** A message as `Outbox.add()` of `@nestjs/outbox` hands it to its store. Times are ms since 1970. */
export interface OutboxStoreMessage {
  readonly id: string;
  readonly topic: string;
  readonly payload: unknown;
  readonly headers: Readonly<Record<string, string>>;
  readonly key: string | null;
  readonly createdAt: number;
  readonly availableAt: number;
}

/**
 * A store for `@nestjs/outbox` that writes into relay's table, so that services keep calling its `outbox.add(tx, …)`.
 * Register it as that module's source of messages and turn its own relay off: there is nothing for it to claim. Dead
 * letters are the relay's parked events: `relay parked list`.
 */
export class RelayOutboxStore {
  private readonly outbox: Outbox;

  constructor(options: OutboxOptions = {}) {
    this.outbox = createOutbox(options);
  }

  /** Throws OutboxTransactionRequiredError for a handle that is not an open transaction. */
  async add(tx: unknown, messages: readonly OutboxStoreMessage[]): Promise<void> {
    await this.outbox.insert(
      tx,
      ...messages.map(({ id, topic, payload, headers, key, createdAt, availableAt }) => ({
        id,
        topic,
        payload,
        headers,
        key,
        // Due at once is no schedule: a scheduled event loses its place in the order of its key.
        ...(availableAt > createdAt && { deliverAt: new Date(availableAt) }),
      })),
    );
  }

  claim(): [] {
    return [];
  }

  markPublished(): boolean {
    return false;
  }

  reschedule(): boolean {
    return false;
  }

  deadLetter(): boolean {
    return false;
  }

  release(): number {
    return 0;
  }

  stats() {
    return { pending: 0, ready: 0, leased: 0, deadLetters: 0, oldestDueAt: null };
  }

  listDeadLetters(): [] {
    return [];
  }

  getDeadLetter(): undefined {
    return undefined;
  }

  requeueDeadLetters(): number {
    return 0;
  }

  purgeDeadLetters(): number {
    return 0;
  }
}
