import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { exitOnKafkaCrash, kafkaConsumer, OutboxModule } from '@outboxrelay/nestjs';
import { DataSource } from 'typeorm';
import { BillingController } from './billing.controller';
import { Invoice } from './invoice.entity';

@Module({
  imports: [
    TypeOrmModule.forRoot({ type: 'postgres', url: process.env['DATABASE_URL']!, entities: [Invoice], synchronize: true }),
    OutboxModule.forRootAsync({
      inject: [DataSource],
      useFactory: (dataSource: DataSource) => ({ transaction: (work) => dataSource.transaction(work) }),
    }),
  ],
  controllers: [BillingController],
})
class AppModule {}

async function main(): Promise<void> {
  const brokers = process.env['KAFKA_BROKERS']!.split(',');
  // kafkajs asks for more records when those of all partitions are handled and their offsets committed, so working on the
  // topic's four partitions side by side keeps that short. TypeORM's pool has ten connections.
  const app = await NestFactory.createMicroservice(AppModule, {
    ...kafkaConsumer({ brokers, groupId: 'billing', concurrency: 4, sessionTimeout: Number(process.env['SESSION_TIMEOUT'] ?? 30_000) }),
    logger: ['error', 'warn'],
  });
  app.enableShutdownHooks();
  await app.listen();
  exitOnKafkaCrash(app);
  console.log('billing consumes');
}

void main();
