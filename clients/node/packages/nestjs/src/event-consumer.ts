import { Inject, Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { createOutbox, transactionOf, withInbox, type HeaderNames, type Outbox } from '@outboxrelay/core';
import { ambientTransaction, runnerOf } from './ambient';
import type { ConsumeEventMetadata } from './consume-event.options';
import { consuming } from './consuming';
import { isUnavailable } from './database-error';
import { deadLetter, deadLetterTopic } from './dead-letter';
import type { ReceivedRecord } from './message';
import { OUTBOX_OPTIONS, type OutboxModuleOptions, type TransactionRunner } from './options';
import { headerNames, RecordReader } from './reader';
import { isPermanent } from './reject';
import { inTraceOf } from './trace';

// kafkajs sends one only when its own heartbeatInterval has passed, so asking often costs nothing.
const heartbeatEvery = 250;
const defaults = { attempts: 5, minDelay: 200, maxDelay: 30_000 };

/** How an attempt ended: done, or with an error that counts as the event's fault or not. */
type Ended = { readonly done: true } | { readonly done: false; readonly error: unknown; readonly counts: boolean };

/**
 * Handles a record: inbox row and handler in one transaction, again after a failure, then a dead letter. It returns when
 * the record is settled in the database, and throws only when it could not be: Kafka then delivers it again.
 */
@Injectable()
export class EventConsumer implements OnModuleDestroy {
  private readonly logger = new Logger('ConsumeEvent');
  private readonly stopping = new AbortController();
  private readonly outbox: Outbox;
  private readonly names: Required<HeaderNames>;
  readonly reader: RecordReader;
  private failing = 0;

  constructor(@Inject(OUTBOX_OPTIONS) private readonly options: OutboxModuleOptions) {
    // What was small enough for a topic may be too large with the reason added. The relay then parks it, in sight.
    this.outbox = createOutbox({ ...options, maxBytes: Number.POSITIVE_INFINITY });
    this.names = headerNames(options.headers);
    this.reader = new RecordReader(this.names);
  }

  /** How many records are being tried again now. */
  get retrying(): number {
    return this.failing;
  }

  onModuleDestroy(): void {
    this.stopping.abort();
  }

  async consume(handler: ConsumeEventMetadata, record: ReceivedRecord, heartbeat: () => Promise<void>, run: () => Promise<void>): Promise<void> {
    // A heartbeat fails while the group rebalances. kafkajs finds that out by itself when the handler has ended.
    const beating = setInterval(() => void heartbeat().catch(() => undefined), heartbeatEvery);
    try {
      await inTraceOf(record.headers, () => this.settle(handler, record, run));
    } finally {
      clearInterval(beating);
    }
  }

  private async settle(handler: ConsumeEventMetadata, record: ReceivedRecord, run: () => Promise<void>): Promise<void> {
    const { attempts, minDelay, maxDelay } = { ...defaults, ...handler.retry };
    const topic = deadLetterTopic(handler);
    let counted = 0;
    for (let failures = 0; ; ) {
      const ended = await this.attempt(handler, record, counted + 1, run);
      if (ended.done) return;
      failures += 1;
      if (ended.counts) counted += 1;
      const hopeless = ended.counts && (counted >= attempts || isPermanent(ended.error));
      if (hopeless && topic !== undefined && (await this.bury(topic, handler, record, counted, ended.error))) return;
      await this.pause(Math.min(maxDelay, minDelay * 2 ** Math.min(failures - 1, 30)), handler, record, ended);
    }
  }

  private async attempt(handler: ConsumeEventMetadata, record: ReceivedRecord, attempt: number, run: () => Promise<void>): Promise<Ended> {
    let fault: unknown; // of the connection, found out after the handler failed
    const { value, raw, ...place } = record;
    try {
      await this.transaction()((tx) =>
        withInbox(
          tx,
          { consumer: handler.consumer, id: record.id },
          () =>
            consuming.run({ tx, meta: { ...place, attempt } }, async () => {
              try {
                await run();
              } catch (error) {
                fault = await faultOf(tx);
                throw error;
              }
            }),
          this.options,
        ),
      );
      return { done: true };
    } catch (error) {
      return { done: false, error, counts: !isUnavailable(fault ?? error) };
    }
  }

  /** Writes the dead letter and the inbox row together. false: the database is out of reach, so come back. */
  private async bury(topic: string, handler: ConsumeEventMetadata, record: ReceivedRecord, attempts: number, error: unknown): Promise<boolean> {
    const letter = deadLetter(topic, record, this.names, handler.consumer, attempts, error);
    try {
      await this.transaction()((tx) =>
        withInbox(tx, { consumer: handler.consumer, id: record.id }, () => this.outbox.insert(tx, letter), this.options),
      );
    } catch (failure) {
      if (isUnavailable(failure)) return false;
      throw failure;
    }
    this.logger.error(`event ${record.id} of ${record.topic} goes to ${topic} after ${attempts} attempts by ${handler.consumer}`, stackOf(error));
    return true;
  }

  private async pause(delay: number, handler: ConsumeEventMetadata, record: ReceivedRecord, { error, counts }: Ended & { done: false }): Promise<void> {
    const blame = counts ? 'failed' : 'could not reach the database';
    this.logger.warn(`${handler.consumer} ${blame} on event ${record.id} of ${record.topic}[${record.partition}], next try in ${delay} ms: ${stackOf(error)}`);
    this.failing += 1;
    try {
      await sleep(delay, this.stopping.signal);
    } finally {
      this.failing -= 1;
    }
    if (this.stopping.signal.aborted) throw new Error(`event ${record.id} was not handled before the shutdown; it comes again`);
  }

  private transaction(): TransactionRunner {
    if (this.options.transaction !== undefined) return this.options.transaction;
    const host = ambientTransaction(this.options.connectionName);
    if (host !== undefined) return runnerOf(host);
    throw new Error(
      '@ConsumeEvent has no way to open a transaction: pass OutboxModule an option such as transaction: (work) => dataSource.transaction(work), ' +
        'or register ClsPluginTransactional of @nestjs-cls/transactional',
    );
  }
}

/** What a statement in the failed transaction fails with, which tells an aborted transaction from a lost connection. */
async function faultOf(tx: unknown): Promise<unknown> {
  try {
    await transactionOf(tx, { requireTransaction: false }).query('select 1 as alive', []);
    return new Error('the handler failed');
  } catch (error) {
    return error;
  }
}

function sleep(delay: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delay);
    signal.addEventListener('abort', done, { once: true });
  });
}

const stackOf = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));
