'use strict';
// The seven clients, each as its own documentation uses it. `transaction` gives `work` a handle; `nested` runs `work`
// in a savepoint of an open transaction; `write` inserts the business row through the handle; `outside` is a handle
// that is not in a transaction; `is` is what transactionOf calls the client, where that is not its name. All take the URL
// to connect to.
const { url } = require('./database.js');

const insert = (name) => `insert into business (name) values ('${name}')`;

async function nodePostgres(as = url) {
  const { Pool } = require('pg');
  const pool = new Pool({ connectionString: as });
  return {
    outside: pool,
    async transaction(work) {
      const client = await pool.connect();
      try {
        await client.query('begin');
        await work(client);
        await client.query('commit');
      } catch (error) {
        await client.query('rollback');
        throw error;
      } finally {
        client.release();
      }
    },
    async nested(client, work) {
      await client.query('savepoint inner_one');
      try {
        await work(client);
        await client.query('release savepoint inner_one');
      } catch (error) {
        await client.query('rollback to savepoint inner_one');
        throw error;
      }
    },
    write: (client, name) => client.query(insert(name)),
    close: () => pool.end(),
  };
}

async function typeorm(as = url) {
  require('reflect-metadata');
  const { DataSource } = require('typeorm');
  const dataSource = await new DataSource({ type: 'postgres', url: as }).initialize();
  return {
    outside: dataSource.manager,
    transaction: (work) => dataSource.transaction(work),
    nested: (em, work) => em.transaction(work),
    write: (em, name) => em.query(insert(name)),
    close: () => dataSource.destroy(),
  };
}

async function queryRunner(as = url) {
  require('reflect-metadata');
  const { DataSource } = require('typeorm');
  const dataSource = await new DataSource({ type: 'postgres', url: as }).initialize();
  const outside = dataSource.createQueryRunner();
  // A transaction that is started within one is a savepoint; the handle stays the same.
  const transacting = async (runner, work) => {
    await runner.startTransaction();
    try {
      await work(runner);
      await runner.commitTransaction();
    } catch (error) {
      await runner.rollbackTransaction();
      throw error;
    }
  };
  return {
    is: 'typeorm',
    outside,
    async transaction(work) {
      const runner = dataSource.createQueryRunner();
      try {
        await transacting(runner, work);
      } finally {
        await runner.release();
      }
    },
    nested: transacting,
    write: (runner, name) => runner.query(insert(name)),
    async close() {
      await outside.release();
      await dataSource.destroy();
    },
  };
}

async function prisma(as = url) {
  const { PrismaClient } = require('../.generated/prisma/client.js');
  const { PrismaPg } = require('@prisma/adapter-pg');
  const client = new PrismaClient({ adapter: new PrismaPg({ connectionString: as }) });
  return {
    outside: client,
    transaction: (work) => client.$transaction(work),
    async nested(tx, work) {
      await tx.$executeRawUnsafe('savepoint inner_one');
      try {
        await work(tx);
        await tx.$executeRawUnsafe('release savepoint inner_one');
      } catch (error) {
        await tx.$executeRawUnsafe('rollback to savepoint inner_one');
        throw error;
      }
    },
    write: (tx, name) => tx.business.create({ data: { name } }),
    close: () => client.$disconnect(),
  };
}

async function drizzle(as = url) {
  const { Pool } = require('pg');
  const { drizzle: open } = require('drizzle-orm/node-postgres');
  const { sql } = require('drizzle-orm');
  const pool = new Pool({ connectionString: as });
  const db = open(pool);
  return {
    outside: db,
    transaction: (work) => db.transaction(work),
    nested: (tx, work) => tx.transaction(work),
    write: (tx, name) => tx.execute(sql`insert into business (name) values (${name})`),
    close: () => pool.end(),
  };
}

async function knex(as = url) {
  const db = require('knex')({ client: 'pg', connection: as });
  return {
    outside: db,
    transaction: (work) => db.transaction(work),
    nested: (trx, work) => trx.transaction(work),
    write: (trx, name) => trx('business').insert({ name }),
    close: () => db.destroy(),
  };
}

async function kysely(as = url) {
  const { Pool } = require('pg');
  const { Kysely, PostgresDialect } = require('kysely');
  const db = new Kysely({ dialect: new PostgresDialect({ pool: new Pool({ connectionString: as }) }) });
  return {
    outside: db,
    transaction: async (work) => {
      const trx = await db.startTransaction().execute();
      try {
        await work(trx);
        await trx.commit().execute();
      } catch (error) {
        await trx.rollback().execute();
        throw error;
      }
    },
    async nested(trx, work) {
      const inner = await trx.savepoint('inner_one').execute();
      try {
        await work(inner);
        await inner.releaseSavepoint('inner_one').execute();
      } catch (error) {
        await inner.rollbackToSavepoint('inner_one').execute();
        throw error;
      }
    },
    write: (trx, name) => trx.insertInto('business').values({ name }).execute(),
    close: () => db.destroy(),
  };
}

/** The other form: Kysely itself begins and commits, and has no method for savepoints. */
async function kyselyCallback(as = url) {
  const { sql } = require('kysely');
  const controlled = await kysely(as);
  return {
    ...controlled,
    is: 'kysely',
    transaction: (work) => controlled.outside.transaction().execute(work),
    async nested(trx, work) {
      await sql`savepoint inner_one`.execute(trx);
      try {
        await work(trx);
        await sql`release savepoint inner_one`.execute(trx);
      } catch (error) {
        await sql`rollback to savepoint inner_one`.execute(trx);
        throw error;
      }
    },
  };
}

async function mikroOrm(as = url) {
  const { MikroORM, EntitySchema } = require('@mikro-orm/postgresql');
  const Business = new EntitySchema({ name: 'Business', tableName: 'business', properties: { name: { type: 'string', primary: true } } });
  const orm = await MikroORM.init({ clientUrl: as, entities: [Business], dbName: new URL(url).pathname.slice(1) });
  return {
    outside: orm.em.fork(),
    transaction: (work) => orm.em.fork().transactional(work),
    nested: (em, work) => em.transactional(work),
    write: async (em, name) => {
      em.persist(em.create(Business, { name }));
      await em.flush();
    },
    close: () => orm.close(true),
  };
}

module.exports = {
  clients: {
    'node-postgres': nodePostgres, typeorm, 'typeorm, a QueryRunner': queryRunner, prisma, drizzle, knex,
    kysely, 'kysely, with a callback': kyselyCallback, 'mikro-orm': mikroOrm,
  },
};
