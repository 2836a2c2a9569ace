import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

/** Nothing here stops a second invoice for an order. The inbox does. */
@Entity('invoices')
export class Invoice {
  @PrimaryGeneratedColumn()
  number!: number;

  @Column('text')
  orderId!: string;

  @Column('numeric')
  total!: string;

  @Column('integer', { comment: 'ms from the request to the handler' })
  latency!: number;
}
