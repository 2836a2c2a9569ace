import { setMaxListeners } from 'node:events';

const closings = new WeakMap<object, AbortController>(); // by kafkajs's consumer
let watching = false;

/** Aborted when the server of this consumer begins to close. */
export function closingOf(consumer: object): AbortSignal {
  let closing = closings.get(consumer);
  if (closing === undefined) {
    closings.set(consumer, (closing = new AbortController()));
    setMaxListeners(0, closing.signal); // one for each record that waits
  }
  return closing.signal;
}

/**
 * A microservice that is closed, and not ended by a signal, closes its server before it calls any hook, and the server
 * waits for the record that is being handled: for ever, if that one is tried again until the hook comes.
 */
export function watchClosing(): void {
  if (watching) return;
  watching = true;
  const { ServerKafka } = require('@nestjs/microservices') as typeof import('@nestjs/microservices');
  const { close } = ServerKafka.prototype;
  ServerKafka.prototype.close = function (this: any) {
    if (this.consumer) closings.get(this.consumer)?.abort();
    return close.call(this);
  };
}
