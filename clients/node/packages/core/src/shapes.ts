import type { TransactionClient } from './transaction';

type Rows = Record<string, unknown>[];
type Parameters = readonly (string | null)[];

interface Shape {
  readonly client: TransactionClient;
  matches(handle: any): boolean;
  /** Why the handle is not an open transaction and what to pass instead; undefined if it is one. */
  refuses(handle: any): string | undefined;
  query(handle: any, sql: string, parameters: Parameters): Promise<Rows>;
}

const isFunction = (value: unknown): boolean => typeof value === 'function';

/** For clients that write their placeholders as `?`. The statements here hold no other question mark. */
const questionMarks = (sql: string): string => sql.replace(/\$\d+/g, '?');

const prisma: Shape = {
  client: 'prisma',
  matches: (handle) => isFunction(handle.$queryRawUnsafe) && isFunction(handle.$executeRawUnsafe),
  // The client of an interactive transaction has lost $connect. It has kept $transaction.
  refuses: (handle) =>
    isFunction(handle.$connect)
      ? 'this PrismaClient is not in a transaction: pass the tx of prisma.$transaction(async (tx) => …)'
      : undefined,
  query: (handle, sql, parameters) => handle.$queryRawUnsafe(sql, ...parameters),
};

const mikroOrm: Shape = {
  client: 'mikro-orm',
  matches: (handle) => isFunction(handle.isInTransaction) && isFunction(handle.execute),
  refuses: (handle) =>
    handle.isInTransaction()
      ? undefined
      : 'this EntityManager of MikroORM is not in a transaction: pass the em of em.transactional(async (em) => …), or call em.begin() first',
  query: (handle, sql, parameters) => handle.execute(questionMarks(sql), parameters),
};

const kysely: Shape = {
  client: 'kysely',
  matches: (handle) => isFunction(handle.executeQuery) && isFunction(handle.getExecutor),
  refuses: (handle) => {
    if (handle.isTransaction !== true) return 'this Kysely is not in a transaction: pass the trx of db.transaction().execute(async (trx) => …)';
    if (handle.isCommitted === true || handle.isRolledBack === true) return 'this transaction of Kysely has ended: pass one that is open';
    return undefined;
  },
  query: async (handle, sql, parameters) => {
    // What CompiledQuery.raw makes.
    const query = { kind: 'RawNode', sqlFragments: [sql], parameters: [] };
    const queryId = { queryId: `outboxrelay-${(kyselyQueries += 1)}` };
    return (await handle.executeQuery({ sql, query, queryId, parameters })).rows;
  },
};
let kyselyQueries = 0;

const knex: Shape = {
  client: 'knex',
  matches: (handle) => isFunction(handle) && isFunction(handle.raw) && 'client' in handle,
  refuses: (handle) => {
    if (handle.isTransaction !== true) return 'this Knex is not in a transaction: pass the trx of knex.transaction(async (trx) => …)';
    if (handle.isCompleted()) return 'this transaction of Knex has ended: pass one that is open';
    return undefined;
  },
  query: async (handle, sql, parameters) => (await handle.raw(questionMarks(sql), parameters)).rows,
};

const queryRunner: Shape = {
  client: 'typeorm',
  matches: (handle) => isFunction(handle.query) && 'isTransactionActive' in handle,
  refuses: (handle) =>
    handle.isTransactionActive
      ? undefined
      : 'this QueryRunner of TypeORM is not in a transaction: call startTransaction() first, or pass the em of dataSource.transaction(async (em) => …)',
  query: (handle, sql, parameters) => handle.query(sql, parameters),
};

const entityManager: Shape = {
  client: 'typeorm',
  matches: (handle) => isFunction(handle.query) && isFunction(handle.getRepository) && !isFunction(handle.createQueryRunner),
  refuses: (handle) =>
    handle.queryRunner?.isTransactionActive
      ? undefined
      : 'this EntityManager of TypeORM is not in a transaction: pass the em of dataSource.transaction(async (em) => …)',
  query: (handle, sql, parameters) => handle.query(sql, parameters),
};

const dataSource: Shape = {
  client: 'typeorm',
  matches: (handle) => isFunction(handle.query) && isFunction(handle.createQueryRunner),
  refuses: () => 'a DataSource of TypeORM is not a transaction: pass the em of dataSource.transaction(async (em) => …)',
  query: (handle, sql, parameters) => handle.query(sql, parameters),
};

const drizzle: Shape = {
  client: 'drizzle',
  matches: (handle) => isFunction(handle.execute) && isFunction(handle.select) && isFunction(handle.transaction),
  refuses: (handle) => {
    if (!isFunction(handle.rollback)) return 'this Drizzle database is not a transaction: pass the tx of db.transaction(async (tx) => …)';
    // A tx does not know that it has ended. The client under it does, if it is one of node-postgres.
    const status = handle.session?.client?.getTransactionStatus?.();
    return status === undefined || status === 'T' || status === 'E' ? undefined : 'this transaction of Drizzle has ended: pass one that is open';
  },
  query: async (handle, sql, parameters) => {
    // execute takes anything with getSQL, and asks the answer only for its text and its parameters.
    const result = await handle.execute({ getSQL: () => ({ toQuery: () => ({ sql, params: [...parameters] }) }) });
    return Array.isArray(result) ? result : result.rows;
  },
};

const nodePostgresPool: Shape = {
  client: 'node-postgres',
  matches: (handle) => isFunction(handle.query) && 'totalCount' in handle && isFunction(handle.connect),
  refuses: () => 'a Pool of node-postgres is not a transaction: pass the client of pool.connect() after await client.query("begin")',
  query: async (handle, sql, parameters) => (await handle.query(sql, parameters)).rows,
};

const nodePostgres: Shape = {
  client: 'node-postgres',
  matches: (handle) => isFunction(handle.query) && isFunction(handle.connect) && isFunction(handle.escapeIdentifier),
  refuses: (handle) => {
    if (!isFunction(handle.getTransactionStatus)) {
      return 'this version of node-postgres does not tell whether a transaction is open: use pg 8.23 or newer';
    }
    // E: the transaction has failed. It is one, and the server's error says more than ours could.
    const status = handle.getTransactionStatus();
    return status === 'T' || status === 'E'
      ? undefined
      : 'this client of node-postgres is not in a transaction: await client.query("begin") first';
  },
  query: async (handle, sql, parameters) => (await handle.query(sql, parameters)).rows,
};

/** The first that matches counts: several have a method query, so those with a more telling one come first. */
export const shapes: readonly Shape[] = [
  prisma, mikroOrm, kysely, knex, queryRunner, entityManager, dataSource, drizzle, nodePostgresPool, nodePostgres,
];
