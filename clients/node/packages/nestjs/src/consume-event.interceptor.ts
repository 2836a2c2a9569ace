import { Inject, Injectable, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import type { KafkaContext } from '@nestjs/microservices';
import { OutboxSchemaError, type EventDefinition } from '@outboxrelay/core';
import { from, lastValueFrom, type Observable } from 'rxjs';
import { closingOf } from './closing';
import { CONSUME_EVENT, type ConsumeEventMetadata } from './consume-event.options';
import { EventConsumer } from './event-consumer';
import { recordOf, type ReceivedRecord } from './message';
import { RejectEventError } from './reject';

/** Stands before a @ConsumeEvent handler and its pipes. */
@Injectable()
export class ConsumeEventInterceptor implements NestInterceptor {
  constructor(@Inject(EventConsumer) private readonly consumer: EventConsumer) {}

  // It answers undefined, not nothing: Nest's Kafka server crashes on an empty observable.
  intercept(context: ExecutionContext, next: CallHandler): Observable<undefined> {
    return from(this.consume(context, next));
  }

  private async consume(context: ExecutionContext, next: CallHandler): Promise<undefined> {
    const handler: ConsumeEventMetadata = Reflect.getMetadata(CONSUME_EVENT, context.getHandler());
    const kafka = context.switchToRpc().getContext<KafkaContext>();
    const record = recordOf(kafka, this.consumer.names);
    if (handler.event.type !== undefined && handler.event.type !== record.type) {
      if (record.type === undefined) this.consumer.warnOfNoType(handler, record);
      return undefined;
    }
    // Nest passes this array to the handler, pipes and all. Its payload is the whole message where the value is null.
    const args = context.getArgs();
    const server = { heartbeat: kafka.getHeartbeat(), closing: closingOf(kafka.getConsumer() ?? {}) };
    await this.consumer.consume(handler, record, server, async () => {
      args[0] = await payloadOf(handler.event, record);
      await lastValueFrom(next.handle(), { defaultValue: undefined });
    });
    return undefined;
  }
}

/** The payload as the handler gets it: checked and converted by the event's schema, if it has one. */
async function payloadOf(event: EventDefinition<any, any>, { value }: ReceivedRecord): Promise<unknown> {
  if (value === null || Buffer.isBuffer(value)) return value;
  if (typeof value === 'string') {
    try {
      return await event.parse(value);
    } catch (error) {
      if (error instanceof SyntaxError) throw new RejectEventError('the value is not JSON');
      throw error;
    }
  }
  if (event.schema === undefined) return value;
  const result = await event.schema['~standard'].validate(value);
  if (result.issues) throw new OutboxSchemaError(event.type ?? event.topic, result.issues);
  return result.value;
}
