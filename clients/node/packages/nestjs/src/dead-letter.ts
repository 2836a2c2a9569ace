import { tombstone, type HeaderNames, type OutboxEvent } from '@outboxrelay/core';
import type { ConsumeEventMetadata } from './consume-event.options';
import type { ReceivedRecord } from './message';

// The relay of the dead letters writes these, and emit refuses them.
const reserved = ['id', 'type', 'created_at'];
const longestReason = 1000;

/** Where the handler's dead letters go; undefined if it has none. */
export function deadLetterTopic({ deadLetter, event, consumer }: ConsumeEventMetadata): string | undefined {
  if (typeof deadLetter === 'string') return deadLetter;
  return deadLetter === true ? `${event.topic}.${consumer}.dlq` : undefined;
}

/** The record as it was, key, headers and bytes, with what is known about its fate in more headers. */
export function deadLetter(
  topic: string,
  record: ReceivedRecord,
  names: Required<HeaderNames>,
  consumer: string,
  attempts: number,
  error: unknown,
): OutboxEvent {
  const standard = new Set([...reserved, ...Object.values(names)]); // a dead letter has its own
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(record.headers)) {
    if (name !== '' && !standard.has(name) && storable(name) && storable(value)) headers[name] = value;
  }
  return {
    topic,
    key: record.key !== null && storable(record.key) ? record.key : null,
    type: record.type !== undefined && storable(record.type) ? record.type : null,
    payload: payloadOf(record),
    headers: {
      ...headers,
      'x-original-id': record.id,
      'x-original-topic': record.topic,
      'x-original-partition': String(record.partition),
      'x-original-offset': record.offset,
      'x-consumer': consumer,
      'x-attempts': String(attempts),
      'x-error': reason(error),
    },
  };
}

function payloadOf({ raw, value }: ReceivedRecord): unknown {
  if (value === null) return tombstone;
  return raw ?? value;
}

function reason(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return text.slice(0, longestReason).replaceAll('\0', '').toWellFormed();
}

// PostgreSQL has no text with a zero byte, nor half a character.
const storable = (text: string): boolean => !text.includes('\0') && text.isWellFormed();
