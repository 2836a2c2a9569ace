import type { EventFault } from './errors';
import type { EncodedPayload } from './payload';
import { isUuid } from './uuid';

/** An event as it will be stored. */
export interface EncodedEvent {
  readonly id: string;
  readonly topic: string;
  readonly key: string | null;
  readonly type: string | null;
  readonly payload: EncodedPayload;
  readonly headers: Readonly<Record<string, string>>;
  readonly partition: number | null;
  readonly deliverAt: Date | null;
}

/**
 * The largest record that a Kafka broker takes unless it was told otherwise: its message.max.bytes, which counts the
 * record with its key, its headers and the batch around it, before compression.
 */
export const defaultMaxBytes = 1048588;

const reserved = ['id', 'type', 'created_at'];

type Add = (field: string, problem: string) => void;

/** Every reason to refuse the events: what PostgreSQL would refuse, and abort the transaction, or Kafka later. */
export function faultsOf(events: readonly EncodedEvent[], maxBytes: number): EventFault[] {
  const faults: EventFault[] = [];
  const ids = new Map<string, number>();
  events.forEach((event, index) => {
    const add: Add = (field, problem) => faults.push({ index, field, problem });
    checkId(event.id, ids, index, add);
    const problem = topicProblem(event.topic);
    if (problem !== undefined) add('topic', problem);
    if (event.key !== null) checkText('key', event.key, add);
    if (event.type !== null) checkText('type', event.type, add);
    for (const [name, value] of Object.entries(event.headers)) checkHeader(name, value, add);
    const { partition, deliverAt } = event;
    if (partition !== null && !(Number.isInteger(partition) && partition >= 0 && partition < 2 ** 31)) {
      add('partition', 'is no number of a partition: they are counted from 0');
    }
    if (deliverAt !== null && !isWritable(deliverAt)) add('deliverAt', 'is not a Date in the years 1 to 9999');
    const size = recordSize(event);
    if (size > maxBytes) {
      add('payload', `is too large: the record has ${size} bytes and the limit is ${maxBytes} (createOutbox's maxBytes, which has to follow the topic's max.message.bytes)`);
    }
  });
  return faults;
}

function checkId(id: string, ids: Map<string, number>, index: number, add: Add): void {
  if (typeof id !== 'string' || !isUuid(id)) return add('id', 'is not a UUID such as 0198c0de-0000-7000-8000-000000000000');
  const first = ids.get(id.toLowerCase());
  if (first !== undefined) add('id', `is that of event ${first} too, and consumers would drop one of them`);
  else ids.set(id.toLowerCase(), index);
}

/** Why Kafka would refuse a topic of this name (org.apache.kafka.common.internals.Topic); undefined if it takes it. */
export function topicProblem(topic: string): string | undefined {
  if (typeof topic !== 'string' || topic === '') return 'is missing';
  if (topic === '.' || topic === '..') return `is "${topic}", which Kafka refuses`;
  if (topic.length > 249) return `has ${topic.length} characters and Kafka takes 249`;
  if (!/^[a-zA-Z0-9._-]+$/.test(topic)) return `${JSON.stringify(topic)} is refused: Kafka takes letters, digits, dots, underscores and dashes`;
  return undefined;
}

function checkText(field: string, text: string, add: Add): void {
  if (typeof text !== 'string') add(field, `is a ${typeof text}: make it a string`);
  else if (text.includes('\0')) add(field, 'contains a zero byte, which PostgreSQL cannot store');
  else if (!text.isWellFormed()) add(field, 'contains half a surrogate pair, which is not UTF-8');
}

function checkHeader(name: string, value: string, add: Add): void {
  const field = `headers[${JSON.stringify(name)}]`;
  if (name === '') add('headers', 'has an empty name');
  else if (reserved.includes(name)) add(field, 'is written by the relay, from id, type and the time of the insert: leave it out');
  else if (!name.isWellFormed()) add(field, 'has a name that is not UTF-8');
  if (typeof value !== 'string') add(field, `is a ${typeof value}: make it a string`);
  else if (!value.isWellFormed()) add(field, 'contains half a surrogate pair, which is not UTF-8');
}

function isWritable(date: Date): boolean {
  if (!(date instanceof Date) || Number.isNaN(date.getTime())) return false;
  const year = date.getUTCFullYear();
  return year >= 1 && year <= 9999;
}

/**
 * The length of a batch with this record alone, as the broker measures it: batch overhead 61, then the record of
 * Kafka's message format 2 with the headers that the relay adds.
 */
function recordSize(event: EncodedEvent): number {
  const { json, bytes } = event.payload;
  const value = json === undefined ? (bytes?.length ?? 0) : Buffer.byteLength(json);
  let size = 3 + prefixed(textBytes(event.key)) + prefixed(value);
  const headers: [string, number][] = [['id', 36], ['created_at', 27]];
  if (event.type !== null) headers.push(['type', textBytes(event.type)]);
  for (const [name, text] of Object.entries(event.headers)) headers.push([name, textBytes(text)]);
  size += varint(headers.length);
  for (const [name, length] of headers) size += prefixed(Buffer.byteLength(name)) + prefixed(length);
  return 61 + varint(size) + size;
}

const textBytes = (text: string | null): number => (typeof text === 'string' ? Buffer.byteLength(text) : 0);
const prefixed = (length: number): number => varint(length) + length;

/** The length of n in Kafka's zigzag encoding. */
function varint(n: number): number {
  let length = 1;
  for (let rest = n * 2; rest >= 128; rest /= 128) length += 1;
  return length;
}
