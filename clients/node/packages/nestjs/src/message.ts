import type { KafkaContext } from '@nestjs/microservices';
import type { HeaderNames } from '@outboxrelay/core';
import { rawValueOf } from './deserializer';

/** What a consumed event carries beside its payload. */
export interface EventMeta {
  /** The event's UUID; of a record without that header its topic, partition and offset. */
  readonly id: string;
  readonly type: string | undefined;
  readonly key: string | null;
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  /** When the event was inserted. */
  readonly createdAt: Date | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** 1, and one more with each retry. */
  readonly attempt: number;
}

/** A record as the transport handed it over. */
export interface ReceivedRecord extends Omit<EventMeta, 'attempt'> {
  /** Whether it has a header with the event's id. Without one a second copy is another record. */
  readonly identified: boolean;
  /** As Nest decoded it; null is a tombstone. */
  readonly value: unknown;
  /** The bytes as they came, where kafkaConsumer's deserializer kept them. */
  readonly raw: Uint8Array | undefined;
}

/** Undoes what Nest's parser does to keys and headers, and tells a tombstone from a message. */
export function recordOf(context: KafkaContext, names: Required<HeaderNames>): ReceivedRecord {
  if (typeof context?.getTopic !== 'function') {
    throw new Error('@ConsumeEvent works with the Kafka transport only: create the microservice with kafkaConsumer(…)');
  }
  const message = context.getMessage();
  const [topic, partition] = [context.getTopic(), context.getPartition()];
  const headers: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(message.headers ?? {})) {
    if (value !== null && value !== undefined) headers[name] = text(value);
  }
  const createdAt = new Date(headers[names.createdAt] ?? Number.NaN);
  const id = headers[names.id];
  return {
    id: id || `${topic}/${partition}/${message.offset}`,
    identified: Boolean(id),
    type: headers[names.type],
    key: message.key === null || message.key === undefined ? null : text(message.key),
    topic,
    partition,
    offset: message.offset,
    createdAt: Number.isNaN(createdAt.getTime()) ? undefined : createdAt,
    headers,
    value: message.value ?? null,
    raw: rawValueOf(message),
  };
}

const text = (value: unknown): string =>
  Buffer.isBuffer(value) ? value.toString('utf8') : typeof value === 'object' ? JSON.stringify(value) : String(value);
