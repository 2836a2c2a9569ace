import type { FactoryProvider, ModuleMetadata } from '@nestjs/common';
import type { HeaderNames, OutboxOptions } from '@outboxrelay/core';

/**
 * Runs `work` in a transaction of its own and gives it the handle: commits when it resolves, rolls back when it
 * rejects. `(work) => dataSource.transaction(work)` with TypeORM, `(work) => prisma.$transaction(work)` with Prisma.
 */
export type TransactionRunner = <T>(work: (tx: any) => Promise<T>) => Promise<T>;

export interface OutboxModuleOptions extends OutboxOptions {
  /**
   * How the module opens a transaction for a consumed event. Only consumers need it, and not with
   * `@nestjs-cls/transactional`, whose TransactionHost is used then.
   */
  readonly transaction?: TransactionRunner;

  /**
   * What the relays that publish the consumed topics call their headers, where `[headers]` of their configuration renames
   * them: `{ type: 'eventType' }`. Only consumers need it.
   */
  readonly headers?: HeaderNames;

  /** Which connection of `@nestjs-cls/transactional`, if they have names. */
  readonly connectionName?: string;
}

export interface OutboxModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  readonly inject?: FactoryProvider['inject'];
  readonly useFactory: (...dependencies: any[]) => OutboxModuleOptions | Promise<OutboxModuleOptions>;
}

export const OUTBOX_OPTIONS = Symbol('@outboxrelay/nestjs options');
