import type { INestApplication, INestMicroservice } from '@nestjs/common';
import type { KafkaOptions } from '@nestjs/microservices';
import { EventDeserializer } from './deserializer';

type Options = NonNullable<KafkaOptions['options']>;

export interface KafkaConsumerOptions {
  readonly brokers: string[];
  /** Taken as it is: Nest's suffix -server is left out. */
  readonly groupId: string;
  readonly clientId?: string;
  /** How long the group waits for a sign of life, in ms. @ConsumeEvent gives one while a handler runs. Default: 30000. */
  readonly sessionTimeout?: number;
  /** How many partitions are worked on side by side. Give the database's pool as many connections. Default: 1. */
  readonly concurrency?: number;
  /** kafkajs's own options, such as ssl and sasl; they win. */
  readonly client?: Omit<NonNullable<Options['client']>, 'brokers'>;
  readonly consumer?: Omit<NonNullable<Options['consumer']>, 'groupId'>;
}

/**
 * The options of a microservice that consumes events: a new group begins at the first record instead of losing what was
 * there before it, a mistyped topic is an error instead of a topic, and values keep their bytes.
 */
export function kafkaConsumer(options: KafkaConsumerOptions): KafkaOptions {
  // Here and not at the top: a service that only emits has no such package.
  const { Transport } = require('@nestjs/microservices') as typeof import('@nestjs/microservices');
  const { brokers, groupId, clientId = groupId, sessionTimeout = 30_000, concurrency = 1 } = options;
  return {
    transport: Transport.KAFKA,
    options: {
      postfixId: '',
      client: { clientId, brokers, ...options.client },
      consumer: {
        groupId,
        sessionTimeout,
        heartbeatInterval: Math.min(3000, Math.floor(sessionTimeout / 10)),
        allowAutoTopicCreation: false,
        ...options.consumer,
      },
      subscribe: { fromBeginning: true },
      run: { partitionsConsumedConcurrently: concurrency },
      parser: { keepBinary: true },
      deserializer: new EventDeserializer(),
      // A consumer produces nothing; only a @MessagePattern's answers go through here.
      producer: { allowAutoTopicCreation: false },
    },
  };
}

interface CrashEvent {
  readonly payload: { readonly restart: boolean; readonly error?: Error };
}

/**
 * Ends the process with code 1 when kafkajs has given up: it then consumes nothing, and nobody would notice. What
 * supervises the process starts it again. Call it after listen() or startAllMicroservices().
 */
export function exitOnKafkaCrash(app: INestMicroservice | INestApplication, exit: (code: number) => void = process.exit): void {
  const services = 'getMicroservices' in app ? (app.getMicroservices() as INestMicroservice[]) : [app];
  let found = false;
  for (const service of services) {
    const consumer = consumerOf(service);
    if (consumer?.events?.CRASH === undefined) continue;
    found = true;
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      if (payload.restart) return;
      process.stderr.write(`the Kafka consumer has given up, ending: ${payload.error?.message ?? 'no reason given'}\n`);
      exit(1);
    });
  }
  if (!found) throw new Error('exitOnKafkaCrash found no Kafka consumer: call it after listen() or startAllMicroservices()');
}

/** A transport such as gRPC's has nothing to unwrap, and throws. */
function consumerOf(service: INestMicroservice): Crashing | undefined {
  try {
    const clients = service.unwrap<unknown[]>();
    return Array.isArray(clients) ? (clients[1] as Crashing | undefined) : undefined;
  } catch {
    return undefined;
  }
}

interface Crashing {
  readonly events: { readonly CRASH: string };
  on(event: string, listener: (event: CrashEvent) => void): void;
}
