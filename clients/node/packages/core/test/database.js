'use strict';
const { after } = require('node:test');
const { Client, Pool } = require('pg');

const url = process.env.DATABASE_URL;
if (!url) throw new Error('DATABASE_URL is not set: run these tests with `go test ./clients/node`, which brings a PostgreSQL');

/** A pool on the test's database, with the table business in it. Ends with the file's tests. */
function openPool() {
  const pool = new Pool({ connectionString: url });
  after(() => pool.end());
  return pool;
}

async function newClient() {
  const client = new Client({ connectionString: url });
  await client.connect();
  after(() => client.end());
  return client;
}

/** Runs work in a transaction of node-postgres. */
async function transaction(pool, work) {
  const client = await pool.connect();
  try {
    await client.query('begin');
    const result = await work(client);
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}

module.exports = { url, openPool, newClient, transaction };
