import type { KafkaContext } from '@nestjs/microservices';
import { readRecord, type HeaderNames, type RecordLike } from '@outboxrelay/core';
import { asItCame } from './as-it-came';
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
  /** As text. Of a header that the record has twice the last counts; of relay's own the first, which is relay's. */
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

/** Key and headers as they were before Nest's parser, and a tombstone told from a message. */
export function recordOf(context: KafkaContext, names: Required<HeaderNames>): ReceivedRecord {
  if (typeof context?.getTopic !== 'function') {
    throw new Error('@ConsumeEvent works with the Kafka transport only: create the microservice with kafkaConsumer(…)');
  }
  const message = context.getMessage();
  const [topic, partition] = [context.getTopic(), context.getPartition()];
  const { id, type, createdAt, key, headers } = readRecord(asItCame(message) ?? asText(message), { headers: names });
  return {
    id: id || `${topic}/${partition}/${message.offset}`,
    identified: Boolean(id),
    type,
    key,
    topic,
    partition,
    offset: message.offset,
    createdAt,
    headers,
    value: message.value ?? null,
    raw: rawValueOf(message),
  };
}

function asText({ key, headers }: ReturnType<KafkaContext['getMessage']>): RecordLike {
  const texts = Object.entries(headers ?? {}).map(([name, value]) => [name, textOf(value)]);
  return { key: textOf(key), headers: Object.fromEntries(texts) };
}

function textOf(value: unknown): string | undefined {
  if (value === null || value === undefined) return undefined;
  return Buffer.isBuffer(value) ? value.toString('utf8') : typeof value === 'object' ? JSON.stringify(value) : String(value);
}
