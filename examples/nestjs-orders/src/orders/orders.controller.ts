import { randomUUID } from 'node:crypto';
import { Body, Controller, Post } from '@nestjs/common';
import { OutboxService } from '@outboxrelay/nestjs';
import { DataSource } from 'typeorm';
import { OrderPlaced } from '../events/orders';
import { Order } from './order.entity';

@Controller('orders')
export class OrdersController {
  constructor(
    private readonly dataSource: DataSource,
    private readonly outbox: OutboxService,
  ) {}

  @Post()
  async place(@Body() body: { total: string; requestedAt?: number }): Promise<{ id: string }> {
    const requestedAt = body.requestedAt ?? Date.now(); // the bench says when it meant to send it
    const order = { id: randomUUID(), total: body.total };
    // The order and its event commit together, or neither does.
    await this.dataSource.transaction(async (em) => {
      await em.insert(Order, order);
      await this.outbox.emit(em, OrderPlaced, { ...order, requestedAt });
    });
    return { id: order.id };
  }
}
