import { OutboxSchemaError } from './errors';
import type { SchemaInput, SchemaOutput, SchemaResult, StandardSchema } from './standard-schema';

/** In place of a payload: a record with a null value, which a compacted topic takes as "this key is gone". */
export const tombstone: unique symbol = Symbol('outboxrelay.tombstone');
export type Tombstone = typeof tombstone;

export interface EventOptions<Payload> {
  /** 1 to 249 of `a-z A-Z 0-9 . _ -`. */
  readonly topic: string;
  /** The kind of event; becomes the header `type`. */
  readonly type?: string;
  /** Decides the partition: events of one key keep their order. Without it, or null: any partition, no order. */
  readonly key?: (payload: Payload) => string | null | undefined;
}

/**
 * What producer and consumer agree on: where events of a type go and what they carry. `Payload` is what is emitted,
 * `Parsed` what a consumer gets; they differ where a schema converts.
 */
export interface EventDefinition<Payload = unknown, Parsed = Payload> extends EventOptions<Payload> {
  readonly schema?: StandardSchema<any, Parsed> | undefined;

  /** Refuses with OutboxSchemaError a payload that does not match the schema. Without a schema all are fine. */
  validate(payload: unknown): Promise<void>;

  /**
   * A record's value as the event's payload: JSON decoded, then checked and converted by the schema if there is one.
   * null for a tombstone. Throws SyntaxError for what is no JSON and OutboxSchemaError for what does not match.
   */
  parse(value: string | Uint8Array | null | undefined): Promise<Parsed | null>;

  /** Only for the type checker. */
  readonly payload?: Payload;
}

/** What a consumer of the event gets: `EventOf<typeof OrderPlaced>`. */
export type EventOf<D extends EventDefinition<any, any>> = D extends EventDefinition<any, infer Parsed> ? Parsed : never;

/** What a producer of the event emits. */
export type PayloadOf<D extends EventDefinition<any, any>> = NonNullable<D['payload']>;

/** An event without a check, its payload typed: `defineEvent<Order>()({ topic, type, key })`. */
export function defineEvent<Payload>(): (
  options: EventOptions<Payload> & { readonly schema?: StandardSchema<any, any> },
) => EventDefinition<Payload>;
/** An event whose schema types and checks the payload: `defineEvent({ topic, type, key, schema })`. */
export function defineEvent<S extends StandardSchema<any, any>>(
  options: EventOptions<SchemaInput<S>> & { readonly schema: S },
): EventDefinition<SchemaInput<S>, SchemaOutput<S>>;
export function defineEvent(options?: DefinedOptions): unknown {
  return options === undefined ? define : define(options);
}

type DefinedOptions = EventOptions<any> & { readonly schema?: StandardSchema<any, any> };

/** The payload as the event's schema has it. A promise if the schema takes its time or refuses. */
export function checked({ topic, type, schema }: DefinedOptions, payload: unknown): unknown {
  if (schema === undefined) return payload;
  const valueOf = (result: SchemaResult<unknown>): unknown => {
    if (result.issues) throw new OutboxSchemaError(type ?? topic, result.issues);
    return result.value;
  };
  try {
    const result = schema['~standard'].validate(payload);
    return 'then' in result ? Promise.resolve(result).then(valueOf) : valueOf(result);
  } catch (error) {
    return Promise.reject(error);
  }
}

function define(options: DefinedOptions): EventDefinition<any, any> {
  const { topic, type, key, schema } = options;
  return Object.freeze({
    topic,
    type,
    key,
    schema,
    validate: async (payload: unknown) => void (await checked(options, payload)),
    parse: async (value: string | Uint8Array | null | undefined) => {
      if (value === null || value === undefined) return null;
      const text = typeof value === 'string' ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('utf8');
      return checked(options, JSON.parse(text));
    },
  });
}
