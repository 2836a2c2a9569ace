import { defineEvent } from '@outboxrelay/nestjs';

export interface OrderPlacedPayload {
  id: string;
  /** Money is a string: JSON's numbers are not exact. */
  total: string;
  /** When the request came in, in ms since 1970; the bench measures from here. */
  requestedAt: number;
}

/** What orders and billing agree on. */
export const OrderPlaced = defineEvent<OrderPlacedPayload>()({
  topic: 'orders',
  type: 'OrderPlaced',
  key: (order) => order.id,
});
