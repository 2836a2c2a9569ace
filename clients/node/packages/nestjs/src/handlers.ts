import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { CONSUME_EVENT, type ConsumeEventMetadata } from './consume-event.options';

/** Looks at all handlers of the application when it starts. */
@Injectable()
export class Handlers implements OnModuleInit {
  constructor(
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(MetadataScanner) private readonly scanner: MetadataScanner,
  ) {}

  /**
   * Two handlers that share an inbox name and get the same event would each take the other's row for their own, and
   * one of them would never act. Nor would one that is no controller's: Nest calls it for no record.
   */
  onModuleInit(): void {
    const found: Found[] = [];
    const controllers = classesOf(this.discovery.getControllers());
    for (const one of this.handlersOf(controllers)) {
      const twin = found.find((other) => sharesEvents(other.handler, one.handler));
      if (twin !== undefined) {
        throw new Error(`${twin.place} and ${one.place} both handle ${one.handler.event.topic} as consumer ${JSON.stringify(one.handler.consumer)}: give each its own name`);
      }
      found.push(one);
    }
    for (const one of classesOf(this.discovery.getProviders())) {
      if (controllers.has(one)) continue;
      for (const { place } of this.handlersOf([one])) {
        throw new Error(`@ConsumeEvent on ${place} would never be called: make ${one.name} a controller, with @Controller() and in a module's controllers`);
      }
    }
  }

  private *handlersOf(classes: Iterable<Function>): Generator<Found> {
    for (const { name, prototype } of classes) {
      for (const method of this.scanner.getAllMethodNames(prototype)) {
        const handler: ConsumeEventMetadata | undefined = Reflect.getMetadata(CONSUME_EVENT, prototype[method]);
        if (handler !== undefined) yield { place: `${name}.${method}`, handler };
      }
    }
  }
}

interface Found {
  readonly place: string;
  readonly handler: ConsumeEventMetadata;
}

/** Each class once, however many modules have it. Arrow functions, which factories often are, have no prototype. */
function classesOf(wrappers: readonly { readonly metatype: unknown }[]): Set<Function> {
  return new Set(wrappers.map(({ metatype }) => metatype).filter((one): one is Function => typeof one === 'function' && one.prototype !== undefined));
}

function sharesEvents(a: ConsumeEventMetadata, b: ConsumeEventMetadata): boolean {
  if (a.consumer !== b.consumer || a.event.topic !== b.event.topic) return false;
  return a.event.type === undefined || b.event.type === undefined || a.event.type === b.event.type;
}
