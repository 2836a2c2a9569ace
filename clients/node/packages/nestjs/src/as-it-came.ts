import type { RecordLike } from '@outboxrelay/core';

type Came = Pick<RecordLike, 'key' | 'headers'>;

const records = new WeakMap<object, Came>();
let keeping = false;

/** The key and the headers of a message of Nest's as they came; undefined if another parser made it. */
export const asItCame = (message: object): Came | undefined => records.get(message);

/**
 * Nest's parser joins a header that a record has twice with a comma, so that neither id nor type is what relay wrote,
 * and makes objects of keys and headers that look like JSON, whose digits and spaces are lost. No option of the server
 * changes that, so the parser is made to remember what it was given. Its messages stay what they are.
 */
export function keepAsItCame(): void {
  if (keeping) return;
  keeping = true;
  const { KafkaParser } = require('@nestjs/microservices') as typeof import('@nestjs/microservices');
  const { parse } = KafkaParser.prototype;
  KafkaParser.prototype.parse = function (data): any {
    const message = parse.call(this, data) as object;
    records.set(message, { key: data.key, headers: data.headers });
    return message;
  };
}
