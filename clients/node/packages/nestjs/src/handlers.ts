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
   * one of them would never act.
   */
  onModuleInit(): void {
    const found: { place: string; handler: ConsumeEventMetadata }[] = [];
    for (const { metatype } of this.discovery.getControllers()) {
      if (typeof metatype !== 'function') continue;
      for (const method of this.scanner.getAllMethodNames(metatype.prototype)) {
        const handler: ConsumeEventMetadata | undefined = Reflect.getMetadata(CONSUME_EVENT, metatype.prototype[method]);
        if (handler === undefined) continue;
        const place = `${metatype.name}.${method}`;
        const twin = found.find((other) => sharesEvents(other.handler, handler));
        if (twin !== undefined && twin.place !== place) {
          throw new Error(`${twin.place} and ${place} both handle ${handler.event.topic} as consumer ${JSON.stringify(handler.consumer)}: give each its own name`);
        }
        found.push({ place, handler });
      }
    }
  }
}

function sharesEvents(a: ConsumeEventMetadata, b: ConsumeEventMetadata): boolean {
  if (a.consumer !== b.consumer || a.event.topic !== b.event.topic) return false;
  return a.event.type === undefined || b.event.type === undefined || a.event.type === b.event.type;
}
