import { Controller } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import { ConsumeEvent, Tx, type EventOf } from '@outboxrelay/nestjs';
import type { EntityManager } from 'typeorm';
import { OrderPlaced } from '../events/orders';
import { Invoice } from './invoice.entity';

@Controller()
export class BillingController {
  @ConsumeEvent(OrderPlaced, { consumer: 'billing', retry: { attempts: 5 }, deadLetter: true })
  async placed(@Payload() order: EventOf<typeof OrderPlaced>, @Tx() tx: EntityManager): Promise<void> {
    const latency = Date.now() - order.requestedAt;
    await tx.insert(Invoice, { orderId: order.id, total: order.total, latency });
  }
}
