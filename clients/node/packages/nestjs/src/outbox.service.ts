import { Inject, Injectable, Optional } from '@nestjs/common';
import {
  createOutbox,
  OutboxTransactionRequiredError,
  type EmitOptions,
  type EventDefinition,
  type Outbox,
  type OutboxEvent,
  type Tombstone,
} from '@outboxrelay/core';
import { ambientTransaction } from './ambient';
import { OUTBOX_OPTIONS, type OutboxModuleOptions } from './options';
import { traceHeaders } from './trace';

/** One payload, or an array of them. If the payload itself is an array, wrap it: `[payload]`. */
export type Emitted<Payload> = Payload extends readonly unknown[]
  ? readonly (Payload | Tombstone)[]
  : Payload | Tombstone | readonly (Payload | Tombstone)[];

/** Is told of events that were written, before their transaction has ended. */
export interface EmitObserver {
  emitted(event: EventDefinition<any, any>, ids: readonly string[], payloads: readonly unknown[]): void;
}

export const EMIT_OBSERVER = Symbol('@outboxrelay/nestjs emit observer');

/** Writes events in the transaction of the change they tell about. It has no state and no connection. */
@Injectable()
export class OutboxService {
  private readonly outbox: Outbox;

  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: OutboxModuleOptions,
    @Optional() @Inject(EMIT_OBSERVER) private readonly observer?: EmitObserver,
  ) {
    this.outbox = createOutbox(options);
  }

  /**
   * Writes an event, or one for each element of an array, in one statement, and returns their ids. `tx` is the handle
   * of an open transaction: TypeORM's EntityManager, Prisma's or Drizzle's tx, a trx of Knex or Kysely, MikroORM's
   * EntityManager, a node-postgres client. Without it the event joins the transaction of `@nestjs-cls/transactional`.
   *
   * Throws OutboxTransactionRequiredError when there is no transaction, OutboxSchemaError and OutboxInvalidEventError
   * for what the schema or Kafka would refuse; nothing was written then. Any other error is the database's.
   */
  emit<Payload>(tx: unknown, event: EventDefinition<Payload, any>, payload: Emitted<Payload>, options?: EmitOptions): Promise<string[]>;
  emit<Payload>(event: EventDefinition<Payload, any>, payload: Emitted<Payload>, options?: EmitOptions): Promise<string[]>;
  async emit(...args: any[]): Promise<string[]> {
    if (isEvent(args[0])) args.unshift(this.ambient());
    const [tx, event, payload, options = {}] = args as [unknown, EventDefinition<any, any>, any, EmitOptions?];
    if (!isEvent(event)) throw new TypeError('emit: the event is missing: pass what defineEvent returned, after the transaction if you give one');
    const headers = { ...traceHeaders(), ...options.headers };
    const ids = await this.outbox.emit(tx, event, payload, { ...options, headers });
    this.observer?.emitted(event, ids, Array.isArray(payload) ? payload : [payload]);
    return ids;
  }

  /** Writes events of any kinds without a definition, in one statement, in the transaction `tx`. Throws as emit does. */
  insert(tx: unknown, ...events: OutboxEvent[]): Promise<string[]> {
    const trace = traceHeaders();
    return this.outbox.insert(tx, ...events.map((event) => ({ ...event, headers: { ...trace, ...event.headers } })));
  }

  /** TransactionHost.tx falls back to autocommit when there is no transaction, so ask first. */
  private ambient(): unknown {
    const host = ambientTransaction(this.options.connectionName);
    if (host === undefined) {
      throw new OutboxTransactionRequiredError(
        'emit without a transaction: pass its handle first, emit(tx, event, payload), or register ClsPluginTransactional of @nestjs-cls/transactional',
      );
    }
    if (!host.isTransactionActive()) {
      throw new OutboxTransactionRequiredError('emit outside a transaction: put @Transactional() on the method that calls it, or pass a handle first');
    }
    return host.tx;
  }
}

function isEvent(value: any): value is EventDefinition<any, any> {
  return typeof value === 'object' && value !== null && typeof value.topic === 'string' && typeof value.parse === 'function';
}
