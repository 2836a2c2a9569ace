import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Payload } from '@nestjs/microservices';
import { DataSource, type EntityManager } from 'typeorm';
import { ConsumeEvent, defineEvent, exitOnKafkaCrash, kafkaConsumer, OutboxModule, Tx } from '@outboxrelay/nestjs';
import { brokers, connect, leg } from './support';

// A consumer that kafka.test.ts runs as a process of its own, and kills.

export const Numbered = defineEvent<{ n: number; poison?: boolean }>()({ topic: `${leg}-numbered`, type: 'Numbered', key: (e) => String(e.n % 16) });

@Controller()
class Consumer {
  @ConsumeEvent(Numbered, { consumer: 'counter', retry: { attempts: 2, minDelay: 10 }, deadLetter: true })
  async numbered(@Payload() { n, poison }: { n: number; poison?: boolean }, @Tx() tx: EntityManager) {
    // No constraint: what is handled twice is there twice.
    await tx.query('insert into handled values ($1)', [n]);
    if (poison === true) throw new Error('poison');
  }
}

async function main(): Promise<void> {
  const ds = await connect();

  @Module({
    imports: [OutboxModule.forRootAsync({ useFactory: () => ({ transaction: (work) => ds.transaction(work) }) })],
    controllers: [Consumer],
    providers: [{ provide: DataSource, useValue: ds }],
  })
  class AppModule {}

  const app = await NestFactory.createMicroservice(AppModule, {
    ...kafkaConsumer({ brokers, groupId: `${leg}-counter`, sessionTimeout: 1000, consumer: { heartbeatInterval: 100 } }),
    logger: ['error'],
  });
  app.enableShutdownHooks();
  await app.listen();
  exitOnKafkaCrash(app);
}

if (require.main === module) {
  main().catch((error) => {
    console.error(error);
    process.exit(1);
  });
}
