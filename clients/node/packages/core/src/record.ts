import { headerNames, type HeaderNames } from './headers';

type Bytes = string | Uint8Array;

/** A record as kafkajs and its relatives hand it over. */
export interface RecordLike {
  readonly key?: Bytes | null;
  readonly value?: Bytes | null;
  readonly headers?: { readonly [name: string]: Bytes | readonly Bytes[] | undefined } | undefined;
}

export interface ReadOptions {
  /** The names of relay's headers, if its configuration has others than the default. */
  readonly headers?: HeaderNames;
}

export interface ConsumedRecord {
  /** The event's UUID; undefined if the record is not the relay's, or its header has another name. */
  readonly id: string | undefined;
  readonly type: string | undefined;
  /** When the event was inserted. */
  readonly createdAt: Date | undefined;
  readonly key: string | null;
  /** null is a tombstone. */
  readonly value: Bytes | null;
  /** All headers as text. Of a header given more than once the last counts; of relay's own the first, which is relay's. */
  readonly headers: Readonly<Record<string, string>>;
}

/** A consumed record with its key and headers as text. */
export function readRecord(record: RecordLike, options: ReadOptions = {}): ConsumedRecord {
  const names = headerNames(options.headers);
  const standard = new Set(Object.values(names));
  const headers: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(record.headers ?? {})) {
    const one = Array.isArray(value) ? value.at(standard.has(name) ? 0 : -1) : value;
    if (one !== undefined && one !== null) headers[name] = text(one as Bytes);
  }
  const time = headers[names.createdAt];
  const createdAt = time === undefined ? undefined : new Date(time);
  return {
    id: headers[names.id],
    type: headers[names.type],
    createdAt: createdAt && !Number.isNaN(createdAt.getTime()) ? createdAt : undefined,
    key: record.key === null || record.key === undefined ? null : text(record.key),
    value: record.value ?? null,
    headers,
  };
}

function text(bytes: Bytes): string {
  return typeof bytes === 'string' ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}
