import { OutboxInvalidEventError, OutboxWriteError, type EventFault } from './errors';
import type { EventDefinition, Tombstone } from './event';
import { checked, tombstone } from './event';
import { encodePayload, type EncodedPayload } from './payload';
import { quoteIdentifier } from './sql';
import { transactionOf, type Transaction } from './transaction';
import { newId } from './uuid';
import { defaultMaxBytes, faultsOf, type EncodedEvent } from './validate';

export interface OutboxOptions {
  /** The schema's name as it is, not quoted. Default: outbox. */
  readonly schema?: string;
  /** false also writes outside a transaction. For scripts. Default: true. */
  readonly requireTransaction?: boolean;
  /**
   * The largest record that the topics take, in bytes, headers and all, uncompressed. Default: 1048588, a broker's own
   * default. Infinity: no limit here; the relay parks what the broker then refuses.
   */
  readonly maxBytes?: number;
}

/** What one call of emit says besides the payload. It holds for every event of the call. */
export interface EmitOptions {
  /** In place of what the definition's `key` makes of the payload. null: no key. */
  readonly key?: string | null;
  /** A UUID by which consumers recognise a copy; only for a single event. Default: a new UUID version 7. */
  readonly id?: string;
  /** Become headers of the record. undefined values are left out. `id`, `type` and `created_at` are the relay's. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
  /** This partition, whatever the key. Rarely right. */
  readonly partition?: number;
  /** Not before this time. Scheduled events do not hold back later ones of their key. */
  readonly deliverAt?: Date;
}

/** An event said in full, without a definition. */
export interface OutboxEvent extends EmitOptions {
  readonly topic: string;
  readonly type?: string | null;
  /** Any value that JSON can say, a Uint8Array for a value that is encoded already, or `tombstone`. */
  readonly payload: unknown;
}

/** One payload, or an array of them. If the payload itself is an array, wrap it: `[payload]`. */
export type OneOrMore<Payload> = Payload extends readonly unknown[] ? readonly (Payload | Tombstone)[] : Payload | Tombstone | readonly (Payload | Tombstone)[];

export interface Outbox {
  /**
   * Writes an event, or one for each element of an array, in the transaction `tx`, in one statement. Returns their ids.
   *
   * Throws OutboxTransactionRequiredError, OutboxSchemaError or OutboxInvalidEventError before anything is written, and
   * the transaction is as it was. Any other error comes from the database, and the transaction can only be rolled back.
   */
  emit<Payload>(tx: unknown, event: EventDefinition<Payload, any>, payload: OneOrMore<Payload>, options?: EmitOptions): Promise<string[]>;

  /** Writes events of any kinds, in their order, in one statement. Returns their ids. Throws as emit does. */
  insert(tx: unknown, ...events: OutboxEvent[]): Promise<string[]>;
}

/** An outbox has no connection and no state: one for the whole program will do. */
export function createOutbox(options: OutboxOptions = {}): Outbox {
  const statement = insertSQL(quoteIdentifier(options.schema ?? 'outbox'));
  const maxBytes = options.maxBytes ?? defaultMaxBytes;

  const write = async (transaction: Transaction, events: readonly OutboxEvent[]): Promise<string[]> => {
    const encoded = encode(events, maxBytes);
    if (encoded.length > 0) await run(transaction, statement, encoded);
    return encoded.map((event) => event.id);
  };

  return {
    async emit(tx, event, payload, emitOptions = {}) {
      const transaction = transactionOf(tx, options);
      const payloads: readonly unknown[] = Array.isArray(payload) ? payload : [payload];
      if (emitOptions.id !== undefined && payloads.length !== 1) {
        throw new OutboxInvalidEventError([{ index: 0, field: 'id', problem: `is given for ${payloads.length} events: it can be that of one` }]);
      }
      // Nothing is awaited that need not be: the statement then comes before a commit that nobody made wait for it.
      const checks = payloads.map((one) => (one === tombstone ? one : checked(event, one))).filter((check) => check instanceof Promise);
      if (checks.length > 0) {
        await Promise.all(checks);
        transactionOf(tx, options); // it may have ended meanwhile
      }
      return write(transaction, payloads.map((one) => described(event, one, emitOptions)));
    },
    async insert(tx, ...events) {
      return write(transactionOf(tx, options), events);
    },
  };
}

function described(event: EventDefinition<any, any>, payload: unknown, options: EmitOptions): OutboxEvent {
  let { key } = options;
  if (payload !== tombstone) {
    if (key === undefined) key = event.key?.(payload);
  } else if (key === undefined) {
    const problem = 'is missing: a tombstone has no payload to take it from, so name it in the options';
    throw new OutboxInvalidEventError([{ index: 0, field: 'key', problem }]);
  }
  return { ...options, key, topic: event.topic, type: event.type, payload };
}

function encode(events: readonly OutboxEvent[], maxBytes: number): EncodedEvent[] {
  const faults: EventFault[] = [];
  const encoded = events.map((event, index): EncodedEvent => {
    let payload: EncodedPayload = {};
    try {
      payload = encodePayload(event.payload);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      faults.push({ index, field: 'payload', problem: error.message });
    }
    const headers = Object.entries(event.headers ?? {}).filter((header): header is [string, string] => header[1] !== undefined);
    return {
      id: event.id ?? newId(),
      topic: event.topic,
      key: event.key ?? null,
      type: event.type ?? null,
      payload,
      headers: Object.fromEntries(headers),
      partition: event.partition ?? null,
      deliverAt: event.deliverAt ?? null,
    };
  });
  faults.push(...faultsOf(encoded, maxBytes));
  if (faults.length > 0) throw new OutboxInvalidEventError(faults.sort((a, b) => a.index - b.index));
  return encoded;
}

/**
 * Takes one JSON array, in which payload and headers are strings: so their bytes stay what they are. ROWS FROM keeps the
 * array's order, and the defaults of seq and xid are evaluated on top of it, row by row. The count tells of a trigger or
 * a rule that drops rows.
 */
function insertSQL(schema: string): string {
  return `with written as (
insert into ${schema}.events (id, topic, key, type, payload, payload_bytes, headers, partition, deliver_at)
select id, topic, key, type, payload::json, decode(payload_bytes, 'base64'), headers::json, partition, deliver_at
from rows from (json_to_recordset($1::text::json) as (id uuid, topic text, key text, type text, payload text,
     payload_bytes text, headers text, partition integer, deliver_at timestamptz))
     with ordinality as event (id, topic, key, type, payload, payload_bytes, headers, partition, deliver_at, n)
order by n
returning 1)
select count(*)::integer as written from written`;
}

async function run(transaction: Transaction, statement: string, events: readonly EncodedEvent[]): Promise<void> {
  let rows: Record<string, unknown>[];
  try {
    rows = await transaction.query(statement, [JSON.stringify(events.map(row))]);
  } catch (error) {
    throw withCure(error);
  }
  const written = rows[0]?.['written'];
  if (written !== events.length) {
    throw new OutboxWriteError(`the server wrote ${String(written)} of ${events.length} events: look for a trigger or rule on the table that drops rows`);
  }
}

function row(event: EncodedEvent): Record<string, unknown> {
  const { bytes } = event.payload;
  return {
    id: event.id,
    topic: event.topic,
    key: event.key,
    type: event.type,
    payload: event.payload.json,
    payload_bytes: bytes && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64'),
    headers: Object.keys(event.headers).length > 0 ? JSON.stringify(event.headers) : undefined,
    partition: event.partition,
    deliver_at: event.deliverAt?.toISOString(),
  };
}

/** What goes wrong on the first day gets its cure. All else stays the client's own error, for those who retry by it. */
function withCure(error: unknown): unknown {
  switch (sqlState(error)) {
    case '42P01': // undefined table
    case '3F000': // undefined schema
      return new OutboxWriteError('the outbox is not in this database: apply the migrations (relay migrate up), or name the schema (createOutbox)', { cause: error });
    case '42501': // insufficient privilege
      return new OutboxWriteError('the role may not write events: relay migrate up --grant-writer ROLE', { cause: error });
    default:
      return error;
  }
}

/** Where the clients keep PostgreSQL's code: on the error, or on what caused it; Prisma in the metadata. */
function sqlState(error: any): string | undefined {
  for (let e = error, depth = 0; e && depth < 5; e = e.driverError ?? e.cause, depth += 1) {
    for (const code of [e.originalCode, e.meta?.code, e.meta?.driverAdapterError?.cause?.originalCode, e.code]) {
      if (typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !/^P\d{4}$/.test(code)) return code;
    }
  }
  return undefined;
}
