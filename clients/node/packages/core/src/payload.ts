import { tombstone } from './event';

/** A payload as the table takes it. Both absent is a tombstone. */
export interface EncodedPayload {
  readonly json?: string;
  readonly bytes?: Uint8Array;
}

/**
 * Turns a payload into what is stored. Bytes at the top are stored as they are. All else is JSON, written as
 * JSON.stringify does, except that a BigInt becomes a string of digits and bytes within become base64, and that what
 * JSON.stringify would silently replace or drop is refused: a Map, a Set, NaN, an invalid Date, a function, a symbol.
 */
export function encodePayload(payload: unknown): EncodedPayload {
  if (payload === tombstone) return {};
  if (payload instanceof Uint8Array) return { bytes: payload };
  if (payload === undefined) throw new TypeError('is missing: use tombstone for a record with a null value');
  return { json: JSON.stringify(payload, replace) };
}

function replace(this: any, name: string, value: unknown): unknown {
  // JSON.stringify calls toJSON first; what the value was before is in its holder.
  const original = this[name];
  if (original instanceof Uint8Array) {
    return Buffer.from(original.buffer, original.byteOffset, original.byteLength).toString('base64');
  }
  if (original instanceof Date && Number.isNaN(original.getTime())) throw refused(name, 'an invalid Date');
  switch (typeof value) {
    case 'bigint':
      return value.toString();
    case 'number':
      if (!Number.isFinite(value)) throw refused(name, String(value));
      return value;
    case 'function':
    case 'symbol':
      throw refused(name, `a ${typeof value}`);
  }
  if (value instanceof Map || value instanceof Set) throw refused(name, `a ${value.constructor.name}`);
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) throw refused(name, `${value.constructor.name}, use a Uint8Array`);
  return value;
}

function refused(name: string, what: string): TypeError {
  return new TypeError(`holds ${what}${name === '' ? '' : ` at ${JSON.stringify(name)}`}, which JSON cannot say`);
}
