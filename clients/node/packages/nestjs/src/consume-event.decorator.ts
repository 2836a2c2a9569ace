import { applyDecorators, createParamDecorator, SetMetadata, UseInterceptors } from '@nestjs/common';
import { topicProblem, type EventDefinition } from '@outboxrelay/core';
import { current } from './consuming';
import { ConsumeEventInterceptor } from './consume-event.interceptor';
import { CONSUME_EVENT, type ConsumeEventMetadata, type ConsumeEventOptions } from './consume-event.options';
import { deadLetterTopic } from './dead-letter';

/**
 * Handles an event exactly once in the database: the inbox row and what the handler writes through `@Tx()` commit
 * together. Records of another type are left alone. A failed handler is run again, with heartbeats, so that the
 * consumer keeps its partition. The handler is a method of a controller.
 */
export function ConsumeEvent(event: EventDefinition<any, any>, options: ConsumeEventOptions): MethodDecorator {
  if (typeof options?.consumer !== 'string' || options.consumer === '') {
    throw new TypeError('@ConsumeEvent: consumer is missing: name who acts');
  }
  const attempts = options.retry?.attempts ?? 1;
  if (!Number.isInteger(attempts) || attempts < 1) throw new TypeError('@ConsumeEvent: retry.attempts has to be 1 or more');
  const letters = deadLetterTopic({ ...options, event });
  const problem = letters === undefined ? undefined : topicProblem(letters);
  if (problem !== undefined) throw new TypeError(`@ConsumeEvent of ${options.consumer}: the dead-letter topic ${problem}`);
  const { EventPattern } = require('@nestjs/microservices') as typeof import('@nestjs/microservices');
  return applyDecorators(
    EventPattern(event.topic) as MethodDecorator,
    SetMetadata(CONSUME_EVENT, { ...options, event } satisfies ConsumeEventMetadata),
    UseInterceptors(ConsumeEventInterceptor),
  );
}

/** The handle of the transaction in which the handler runs. */
export const Tx = createParamDecorator(() => current('@Tx()').tx);

/** The event's id, key, headers and place: EventMeta. */
export const Meta = createParamDecorator(() => current('@Meta()').meta);
