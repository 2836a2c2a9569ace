import { Inject } from '@nestjs/common';
import type { EmitOptions, EventDefinition } from '@outboxrelay/core';
import { ambientTransaction } from './ambient';
import { OUTBOX_OPTIONS, type OutboxModuleOptions } from './options';
import { OutboxService, type Emitted } from './outbox.service';

const outbox = Symbol('outbox');
const options = Symbol('outbox options');

/**
 * Runs the method in a transaction of `@nestjs-cls/transactional`, its own or the one it is called in, and emits what
 * `payload` makes of the method's result and arguments there. undefined emits nothing. The order of this decorator and
 * `@Transactional()` does not matter. The method has to return a promise, and its class has to be a provider.
 */
export function Emits<Payload, Result, Args extends unknown[] = any[]>(
  event: EventDefinition<Payload, any>,
  payload: (result: Result, ...args: Args) => Emitted<Payload> | undefined,
  emitOptions?: EmitOptions,
) {
  return (target: object, name: string | symbol, descriptor: TypedPropertyDescriptor<(...args: any[]) => Promise<Result>>): void => {
    const original = descriptor.value;
    if (original === undefined) throw new TypeError(`@Emits on ${String(name)}: it belongs on a method`);
    Inject(OutboxService)(target, outbox);
    Inject(OUTBOX_OPTIONS)(target, options);
    const emitting = async function (this: any, ...args: any[]): Promise<Result> {
      const settings: OutboxModuleOptions | undefined = this[options];
      if (settings === undefined) throw new Error(`@Emits on ${String(name)}: import OutboxModule, and make ${target.constructor.name} a provider`);
      const host = ambientTransaction(settings.connectionName);
      if (host === undefined) throw new Error('@Emits needs a transaction: register ClsPluginTransactional of @nestjs-cls/transactional');
      return host.withTransaction(async () => {
        const result = await original.apply(this, args);
        const emitted = payload(result, ...(args as Args));
        if (emitted !== undefined) await (this[outbox] as OutboxService).emit(host.tx, event, emitted as any, emitOptions);
        return result;
      });
    };
    // Other decorators have left their marks on the method, Nest's among them.
    for (const key of Reflect.getMetadataKeys(original)) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, original), emitting);
    }
    Object.defineProperty(emitting, 'name', { value: String(name) });
    descriptor.value = emitting;
  };
}
