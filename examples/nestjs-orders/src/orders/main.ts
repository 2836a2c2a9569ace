import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { OutboxModule } from '@outboxrelay/nestjs';
import { Order } from './order.entity';
import { OrdersController } from './orders.controller';

@Module({
  imports: [
    // synchronize is for examples; it leaves the schema outbox alone.
    TypeOrmModule.forRoot({ type: 'postgres', url: process.env['DATABASE_URL']!, entities: [Order], synchronize: true }),
    OutboxModule.forRoot(),
  ],
  controllers: [OrdersController],
})
class AppModule {}

async function main(): Promise<void> {
  const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] });
  app.enableShutdownHooks();
  await app.listen(Number(process.env['PORT'] ?? 3000), process.env['HOST'] ?? '127.0.0.1');
  console.log(await app.getUrl());
}

void main();
