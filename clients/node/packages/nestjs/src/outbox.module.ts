import { Module, type DynamicModule, type Provider } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { EventConsumer } from './event-consumer';
import { Handlers } from './handlers';
import { OutboxHealthIndicator } from './health';
import { OUTBOX_OPTIONS, type OutboxModuleAsyncOptions, type OutboxModuleOptions } from './options';
import { OutboxService } from './outbox.service';

/** Import it once, in the application's root module: it is global. */
@Module({})
export class OutboxModule {
  static forRoot(options: OutboxModuleOptions = {}): DynamicModule {
    return moduleOf({ provide: OUTBOX_OPTIONS, useValue: options });
  }

  /** Options made of other providers: `{ inject: [DataSource], useFactory: (ds) => ({ transaction: (work) => ds.transaction(work) }) }`. */
  static forRootAsync({ imports, inject, useFactory }: OutboxModuleAsyncOptions): DynamicModule {
    return moduleOf({ provide: OUTBOX_OPTIONS, inject: inject ?? [], useFactory }, imports);
  }
}

function moduleOf(options: Provider, imports: DynamicModule['imports'] = []): DynamicModule {
  return {
    module: OutboxModule,
    global: true,
    imports: [...imports, DiscoveryModule],
    providers: [options, OutboxService, EventConsumer, Handlers, OutboxHealthIndicator],
    exports: [OUTBOX_OPTIONS, OutboxService, EventConsumer, OutboxHealthIndicator],
  };
}
