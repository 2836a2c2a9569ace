import type { TransactionRunner } from './options';
import { optional } from './optional';

/** What is used of the TransactionHost of `@nestjs-cls/transactional`. */
export interface AmbientTransaction {
  readonly tx: unknown;
  isTransactionActive(): boolean;
  withTransaction<T>(work: () => Promise<T>): Promise<T>;
}

/** The host of a connection; undefined if the package is not installed or its plugin is not registered. */
export function ambientTransaction(connectionName?: string): AmbientTransaction | undefined {
  const hosts = optional(() => require('@nestjs-cls/transactional') as typeof import('@nestjs-cls/transactional'));
  if (hosts === undefined) return undefined;
  try {
    return hosts.TransactionHost.getInstance(connectionName);
  } catch {
    return undefined;
  }
}

/** Joins the host's transaction, or opens one, so that what the work calls with `@Transactional()` joins it too. */
export function runnerOf(host: AmbientTransaction): TransactionRunner {
  return (work) => host.withTransaction(() => work(host.tx));
}
