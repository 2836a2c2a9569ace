import type { INestMicroservice } from '@nestjs/common';
import type { ServerKafka } from '@nestjs/microservices';
import type { TestingModule } from '@nestjs/testing';
import { headerNames, newId, tombstone, type EmitOptions, type EventDefinition, type Tombstone } from '@outboxrelay/core';
import { kafkaConsumer } from '../kafka';
import { OUTBOX_OPTIONS, type OutboxModuleOptions } from '../options';

export interface DeliverOptions extends Pick<EmitOptions, 'key' | 'headers'> {
  /** The event's id: deliver the same twice to see that the second does nothing. Default: a new one. */
  readonly id?: string;
  /** In place of the definition's, to see what the handler makes of a type it does not know. */
  readonly type?: string;
}

const servers = new WeakMap<TestingModule, Promise<ServerKafka>>();
let offset = 0;

/**
 * Hands an event to the module's handlers as Kafka would: through Nest's own Kafka server, with its parser, guards,
 * pipes and interceptors, but without a broker. Resolves when the handlers are done, dead letter included, and rejects
 * when the record would be delivered again.
 */
export async function deliver<Payload>(
  module: TestingModule,
  event: EventDefinition<Payload, any>,
  payload: Payload | Tombstone,
  options: DeliverOptions = {},
): Promise<void> {
  let server = servers.get(module);
  if (server === undefined) servers.set(module, (server = start(module)));
  const { id = newId(), type = event.type } = options;
  const key = options.key ?? (payload === tombstone ? undefined : event.key?.(payload as Payload));
  const names = headerNames(module.get<OutboxModuleOptions>(OUTBOX_OPTIONS, { strict: false }).headers);
  const own = { [names.id]: id, [names.type]: type, [names.createdAt]: new Date().toISOString() };
  const headers = Object.entries({ ...own, ...options.headers }).filter((header): header is [string, string] => header[1] !== undefined);
  await (await server).handleMessage({
    topic: event.topic,
    partition: 0,
    message: {
      key: key === undefined || key === null ? null : Buffer.from(key),
      value: payload === tombstone ? null : Buffer.from(JSON.stringify(payload)),
      headers: Object.fromEntries(headers.map(([name, value]) => [name, Buffer.from(value)])),
      timestamp: String(Date.now()),
      attributes: 0,
      offset: String(offset++),
    },
    heartbeat: async () => undefined,
    pause: () => () => undefined,
  });
}

async function start(module: TestingModule): Promise<ServerKafka> {
  const { ServerKafka } = require('@nestjs/microservices') as typeof import('@nestjs/microservices');
  const server = new ServerKafka(kafkaConsumer({ brokers: ['127.0.0.1:1'], groupId: 'deliver' }).options!);
  const app: INestMicroservice & Initialised = module.createNestMicroservice({ strategy: server }) as never;
  // The module's own hooks run once, whether the test has called init() or not.
  if ((module as unknown as Initialised).isInitialized) app.setIsInitHookCalled(true);
  await app.init();
  return server;
}

interface Initialised {
  readonly isInitialized: boolean;
  setIsInitHookCalled(called: boolean): void;
}
