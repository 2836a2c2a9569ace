import type { EventDefinition } from '@outboxrelay/core';

export interface RetryOptions {
  /** How many times the handler is run before the event becomes a dead letter. Default: 5. */
  readonly attempts?: number;
  /** The wait after the first failure, in ms; it doubles with each. Default: 200. */
  readonly minDelay?: number;
  /** The longest wait, in ms. Default: 30000. */
  readonly maxDelay?: number;
}

export interface ConsumeEventOptions {
  /** Who acts: the name in the inbox. Two handlers that both act on one event need two names. Do not change it later. */
  readonly consumer: string;
  readonly retry?: RetryOptions;
  /**
   * Where an event goes that the handler failed on: true is the topic `<topic>.<consumer>.dlq`. It goes through this
   * service's own outbox, in one transaction with the inbox row. Without it the partition waits, and the handler is
   * tried until it works: order is kept, and everything behind the event waits too.
   */
  readonly deadLetter?: boolean | string;
  /**
   * What becomes of a record without a header that holds the event's id, so that a second copy of it could not be told.
   * wait: the partition waits and the log says why, for the header may only have another name (OutboxModule's `headers`).
   * place: it is known by topic, partition and offset, as fits records that relay has not published; a copy that relay
   * publishes is then handled twice. Default: wait.
   */
  readonly withoutId?: 'wait' | 'place';
}

/** What the decorator leaves on a handler. */
export interface ConsumeEventMetadata extends ConsumeEventOptions {
  readonly event: EventDefinition<any, any>;
}

export const CONSUME_EVENT = Symbol('@outboxrelay/nestjs consume event');
