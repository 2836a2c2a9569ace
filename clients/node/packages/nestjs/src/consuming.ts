import { AsyncLocalStorage } from 'node:async_hooks';
import type { EventMeta } from './message';

interface Consuming {
  readonly tx: unknown;
  readonly meta: EventMeta;
}

/** What a handler is working on. */
export const consuming = new AsyncLocalStorage<Consuming>();

export function current(who: string): Consuming {
  const store = consuming.getStore();
  if (store === undefined) throw new Error(`${who} belongs on a parameter of a @ConsumeEvent handler`);
  return store;
}
