import { OutboxTransactionRequiredError } from './errors';
import { shapes } from './shapes';

export type TransactionClient = 'node-postgres' | 'typeorm' | 'prisma' | 'drizzle' | 'knex' | 'kysely' | 'mikro-orm';

/** A handle whose client was recognised. */
export interface Transaction {
  readonly client: TransactionClient;

  /** Whether a transaction is open. Only ever false with `requireTransaction: false`. */
  readonly active: boolean;

  /** Runs one statement on the handle's connection. Parameters are `$1`, `$2`, … and text or null. */
  query(sql: string, parameters: readonly (string | null)[]): Promise<Record<string, unknown>[]>;
}

export interface TransactionOptions {
  /**
   * false accepts a handle that is not in a transaction: its statement then commits by itself. For scripts; in a
   * service it is the mistake that an outbox exists to prevent. Default: true.
   */
  readonly requireTransaction?: boolean;
}

/**
 * Recognises the handle of an open transaction by its shape: a node-postgres client, TypeORM's EntityManager or
 * QueryRunner, Prisma's transaction client, Drizzle's tx, Knex's trx, Kysely's trx, MikroORM's EntityManager.
 *
 * Throws OutboxTransactionRequiredError, which names what to pass, for a pool, a data source or a client that is not in
 * a transaction, and for what none of these is.
 */
export function transactionOf(handle: unknown, options: TransactionOptions = {}): Transaction {
  if ((typeof handle === 'object' && handle !== null) || typeof handle === 'function') {
    for (const shape of shapes) {
      if (!shape.matches(handle)) continue;
      const problem = shape.refuses(handle);
      if (problem !== undefined && options.requireTransaction !== false) throw new OutboxTransactionRequiredError(problem);
      return { client: shape.client, active: problem === undefined, query: (sql, parameters) => shape.query(handle, sql, parameters) };
    }
  }
  throw new OutboxTransactionRequiredError(
    `${describe(handle)} is not the handle of a transaction: pass a node-postgres client, TypeORM's EntityManager, Prisma's tx, ` +
      "Drizzle's tx, Knex's trx, Kysely's trx or MikroORM's EntityManager",
  );
}

function describe(handle: unknown): string {
  if (handle === null || handle === undefined) return String(handle);
  if (typeof handle !== 'object') return `a ${typeof handle}`;
  const name = handle.constructor?.name;
  return name === undefined || name === 'Object' ? 'this object' : `this ${name}`;
}
