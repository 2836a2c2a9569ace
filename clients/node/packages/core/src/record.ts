type Bytes = string | Uint8Array;

/** A record as kafkajs and its relatives hand it over. */
export interface RecordLike {
  readonly key?: Bytes | null;
  readonly value?: Bytes | null;
  readonly headers?: { readonly [name: string]: Bytes | readonly Bytes[] | undefined } | undefined;
}

export interface ConsumedRecord {
  /** The event's UUID; undefined if the record is not the relay's. */
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

/** A consumed record with its key and headers as text. */
export function readRecord(record: RecordLike): ConsumedRecord {
  const headers: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(record.headers ?? {})) {
    const last = Array.isArray(value) ? value.at(-1) : value;
    if (last !== undefined && last !== null) headers[name] = text(last as Bytes);
  }
  const createdAt = headers['created_at'] === undefined ? undefined : new Date(headers['created_at']);
  return {
    id: headers['id'],
    type: headers['type'],
    createdAt: createdAt && !Number.isNaN(createdAt.getTime()) ? createdAt : undefined,
    key: record.key === null || record.key === undefined ? null : text(record.key),
    value: record.value ?? null,
    headers,
  };
}

function text(bytes: Bytes): string {
  return typeof bytes === 'string' ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}
