const rawValues = new WeakMap<object, Uint8Array>();

/** The value's bytes as they came; undefined if another deserializer decoded the message. */
export const rawValueOf = (message: object): Uint8Array | undefined => rawValues.get(message);

/**
 * Decodes a value exactly as Nest's parser does, and keeps its bytes, so that a dead letter can carry them unchanged.
 * It wants the parser's option keepBinary.
 */
export class EventDeserializer {
  deserialize(message: any, options?: Record<string, any>): { pattern: any; data: any } {
    if (message.value instanceof Uint8Array) {
      rawValues.set(message, message.value);
      message.value = decode(message.value);
    }
    return { pattern: options?.['channel'], data: message.value ?? message };
  }
}

function decode(bytes: Uint8Array): unknown {
  // A leading zero byte is the mark of a schema registry's formats: not text.
  if (bytes[0] === 0) return bytes;
  const value = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  if (value[0] !== '{' && value[0] !== '[') return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
