import { setMaxListeners } from 'node:events';
import { Inject, Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { createOutbox, headerNames, transactionOf, withInbox, type HeaderNames, type Outbox } from '@outboxrelay/core';
import { ambientTransaction, runnerOf } from './ambient';
import type { ConsumeEventMetadata } from './consume-event.options';
import { consuming } from './consuming';
import { isUnavailable } from './database-error';
import { deadLetter, deadLetterTopic } from './dead-letter';
import type { ReceivedRecord } from './message';
import { OUTBOX_OPTIONS, type OutboxModuleOptions, type TransactionRunner } from './options';
import { isPermanent } from './reject';
import { inTraceOf } from './trace';

// kafkajs sends one only when its own heartbeatInterval has passed, so asking often costs nothing.
const heartbeatEvery = 250;
// With these kafkajs joins the group again. What else a heartbeat fails with it finds out by itself.
const rejoins = new Set(['REBALANCE_IN_PROGRESS', 'NOT_COORDINATOR_FOR_GROUP', 'ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID']);
const longestTimer = 2 ** 31 - 1; // of setTimeout, which takes a longer one for none

/** What the record came from. */
interface Server {
  readonly heartbeat: () => Promise<void>;
  readonly closing: AbortSignal;
}

/**
 * What ends the wait for the next try. The whole group waits for a member that does not join again, up to the
 * rebalanceTimeout, so the record is given back: who has the partition then gets it again.
 */
interface Ends {
  readonly closing: AbortSignal;
  readonly rejoining: AbortSignal;
}

/** How an attempt ended: done, or with an error that counts as the event's fault or not. */
type Ended = { readonly done: true } | { readonly done: false; readonly error: unknown; readonly counts: boolean };

/**
 * Handles a record: inbox row and handler in one transaction, again after a failure, then a dead letter. It returns when
 * the record is settled in the database, and throws only when it could not be: Kafka then delivers it again.
 */
@Injectable()
export class EventConsumer implements OnModuleDestroy {
  readonly names: Required<HeaderNames>;
  private readonly logger = new Logger('ConsumeEvent');
  private readonly stopping = new AbortController();
  private readonly outbox: Outbox;
  private readonly typeless = new Set<string>(); // topics with records that have no type, of which was warned
  private failing = 0;

  constructor(@Inject(OUTBOX_OPTIONS) private readonly options: OutboxModuleOptions) {
    this.names = headerNames(options.headers);
    setMaxListeners(0, this.stopping.signal); // one for each record that waits
    // What was small enough for a topic may be too large with the reason added. The relay then parks it, in sight.
    this.outbox = createOutbox({ ...options, maxBytes: Number.POSITIVE_INFINITY });
  }

  /** How many records are being tried again now. */
  get retrying(): number {
    return this.failing;
  }

  onModuleDestroy(): void {
    this.stopping.abort();
  }

  /**
   * Once a topic. The record may be a stranger's, which is none of the handler's business, or its type may be in a header
   * of another name, and then each event would be passed over in silence.
   */
  warnOfNoType({ consumer, event }: ConsumeEventMetadata, { topic, partition, offset, headers }: ReceivedRecord): void {
    if (this.typeless.has(topic)) return;
    this.typeless.add(topic);
    this.logger.warn(
      `${consumer} passes over a record without a header ${JSON.stringify(this.names.type)} (${topic}[${partition}] at offset ${offset}, ` +
        `with ${namesOf(headers)}), and all others like it in ${topic}: it handles ${event.type}. If relay publishes them, and [headers] of its ` +
        "configuration renames type, give OutboxModule that name: headers: { type: '…' }, and let the group read them again",
    );
  }

  async consume(handler: ConsumeEventMetadata, record: ReceivedRecord, { heartbeat, closing }: Server, run: () => Promise<void>): Promise<void> {
    const rejoining = new AbortController();
    const beat = () =>
      heartbeat().catch((error) => {
        if (rejoins.has(error?.type)) rejoining.abort(error);
      });
    const beating = setInterval(() => void beat(), heartbeatEvery);
    try {
      await inTraceOf(record.headers, () => this.settle(handler, record, { closing, rejoining: rejoining.signal }, run));
    } finally {
      clearInterval(beating);
    }
  }

  private async settle(handler: ConsumeEventMetadata, record: ReceivedRecord, ends: Ends, run: () => Promise<void>): Promise<void> {
    if (!record.identified && handler.withoutId !== 'place') return this.waitForId(handler, record, ends);
    const { attempts = 5 } = handler.retry ?? {};
    const topic = deadLetterTopic(handler);
    let counted = 0;
    for (let failures = 0; ; ) {
      const ended = await this.attempt(handler, record, counted + 1, run);
      if (ended.done) return;
      failures += 1;
      if (ended.counts) counted += 1;
      const hopeless = ended.counts && (counted >= attempts || isPermanent(ended.error));
      if (hopeless && topic !== undefined && (await this.bury(topic, handler, record, counted, ended.error))) return;
      const delay = delayAfter(failures, handler);
      const blame = ended.counts ? 'failed' : 'could not reach the database';
      this.logger.warn(`${handler.consumer} ${blame} on event ${record.id} of ${record.topic}[${record.partition}], next try in ${delay} ms: ${stackOf(ended.error)}`);
      await this.pause(delay, record, ends);
    }
  }

  /** Until the shutdown, or until the group is joined again. Nothing is lost, and no copy is taken for a new event. */
  private async waitForId(handler: ConsumeEventMetadata, record: ReceivedRecord, ends: Ends): Promise<never> {
    for (let times = 1; ; times += 1) {
      this.logger.error(
        `${handler.consumer} does not handle event ${record.id}, and ${record.topic}[${record.partition}] waits: it has no header ${JSON.stringify(this.names.id)} ` +
          `(but ${namesOf(record.headers)}), so a copy of it could not be told. If relay publishes it, and [headers] of its configuration renames id, ` +
          "give OutboxModule that name: headers: { id: '…' }. If it is not relay's, or copies may be handled twice, give @ConsumeEvent withoutId: 'place'",
      );
      await this.pause(delayAfter(times, handler), record, ends);
    }
  }

  private async attempt(handler: ConsumeEventMetadata, record: ReceivedRecord, attempt: number, run: () => Promise<void>): Promise<Ended> {
    let fault: unknown; // of the connection, found out after the handler failed
    const { value, raw, identified, ...place } = record;
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

  private async pause(delay: number, record: ReceivedRecord, { closing, rejoining }: Ends): Promise<void> {
    const stopped = [this.stopping.signal, closing];
    this.failing += 1;
    try {
      await sleep(delay, [...stopped, rejoining]);
    } finally {
      this.failing -= 1;
    }
    if (stopped.some(({ aborted }) => aborted)) throw new Error(`event ${record.id} was not handled before the shutdown; it comes again`);
    if (rejoining.aborted) throw forKafka(rejoining.reason);
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

function delayAfter(failures: number, { retry }: ConsumeEventMetadata): number {
  const { minDelay = 200, maxDelay = 30_000 } = retry ?? {};
  return Math.min(longestTimer, maxDelay, minDelay * 2 ** Math.min(failures - 1, 30));
}

/** Nest makes an "Internal server error" of all other errors, and kafkajs knows its own by their type. */
function forKafka(error: object): Error {
  const { RpcException } = require('@nestjs/microservices') as typeof import('@nestjs/microservices');
  return new RpcException(error);
}

/** Names only: values may be secret. */
const namesOf = (headers: Readonly<Record<string, string>>): string => Object.keys(headers).map((name) => JSON.stringify(name)).join(', ') || 'none';

/** What a statement in the failed transaction fails with, which tells an aborted transaction from a lost connection. */
async function faultOf(tx: unknown): Promise<unknown> {
  try {
    await transactionOf(tx, { requireTransaction: false }).query('select 1 as alive', []);
    return new Error('the handler failed');
  } catch (error) {
    return error;
  }
}

function sleep(delay: number, ends: readonly AbortSignal[]): Promise<void> {
  if (ends.some(({ aborted }) => aborted)) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      for (const end of ends) end.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delay);
    for (const end of ends) end.addEventListener('abort', done);
  });
}

const stackOf = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));
