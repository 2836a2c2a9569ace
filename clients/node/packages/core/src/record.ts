type Bytes = string | Uint8Array;

/** A record as kafkajs and its relatives hand it over. */
export interface RecordLike {
  readonly key?: Bytes | null;
  readonly value?: Bytes | null;
  readonly headers?: { readonly [name: string]: Bytes | readonly Bytes[] | undefined } | undefined;
}

/** What relay calls its own headers: `[headers]` in its configuration. Left out: `id`, `type` and `created_at`. */
export interface HeaderNames {
  readonly id?: string;
  readonly type?: string;
  readonly createdAt?: string;
}

export interface ConsumedRecord {
  /** The event's UUID; undefined if the record is not the relay's, or relay calls the header something else. */
  readonly id: string | undefined;
  readonly type: string | undefined;
  /** When the event was inserted. */
  readonly createdAt: Date | undefined;
  readonly key: string | null;
  /** null is a tombstone. */
  readonly value: Bytes | null;
  /** All headers as text. Of a header given more than once the last counts. */
  readonly headers: Readonly<Record<string, string>>;
}

/** A consumed record with its key and headers as text. `names` are needed where relay's configuration has `[headers]`. */
export function readRecord(record: RecordLike, names: HeaderNames = {}): ConsumedRecord {
  const headers: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(record.headers ?? {})) {
    const last = Array.isArray(value) ? value.at(-1) : value;
    if (last !== undefined && last !== null) headers[name] = text(last as Bytes);
  }
  const inserted = headers[names.createdAt ?? 'created_at'];
  const createdAt = inserted === undefined ? undefined : new Date(inserted);
  return {
    id: headers[names.id ?? 'id'],
    type: headers[names.type ?? 'type'],
    createdAt: createdAt && !Number.isNaN(createdAt.getTime()) ? createdAt : undefined,
    key: record.key === null || record.key === undefined ? null : text(record.key),
    value: record.value ?? null,
    headers,
  };
}

function text(bytes: Bytes): string {
  return typeof bytes === 'string' ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}
