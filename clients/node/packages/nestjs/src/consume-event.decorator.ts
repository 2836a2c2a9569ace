import { applyDecorators, createParamDecorator, SetMetadata, UseInterceptors } from '@nestjs/common';
import { topicProblem, type EventDefinition } from '@outboxrelay/core';
import { keepAsItCame } from './as-it-came';
import { watchClosing } from './closing';
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
  if (![undefined, 'wait', 'place'].includes(options.withoutId)) throw new TypeError("@ConsumeEvent: withoutId has to be 'wait' or 'place'");
  const metadata: ConsumeEventMetadata = { ...options, event };
  const { EventPattern } = require('@nestjs/microservices') as typeof import('@nestjs/microservices');
  keepAsItCame();
  watchClosing();
  const decorate = applyDecorators(
    EventPattern(event.topic) as MethodDecorator,
    SetMetadata(CONSUME_EVENT, metadata),
    UseInterceptors(ConsumeEventInterceptor),
  );
  return (target, method, descriptor) => {
    checkDeadLetter(metadata, `${target.constructor.name}.${String(method)}`);
    decorate(target, method, descriptor);
  };
}

/** Here and not at the first failure: a dead letter that nobody takes would hold up the partition then. */
function checkDeadLetter(metadata: ConsumeEventMetadata, place: string): void {
  const topic = deadLetterTopic(metadata);
  const problem = topic === undefined ? undefined : topicProblem(topic);
  if (problem === undefined) return;
  const cure = metadata.deadLetter === true ? '; true makes it of topic and consumer, so name one that Kafka takes' : '';
  throw new TypeError(`@ConsumeEvent on ${place}: deadLetter: the topic ${problem}${cure}`);
}

/** The handle of the transaction in which the handler runs. */
export const Tx = createParamDecorator(() => current('@Tx()').tx);

/** The event's id, key, headers and place: EventMeta. */
export const Meta = createParamDecorator(() => current('@Meta()').meta);
