'use strict';
const { execFileSync } = require('node:child_process');
const { join } = require('node:path');
const { after } = require('node:test');
const { Pool } = require('pg');
const { createOutbox, defineEvent } = require('@outboxrelay/core');

const url = process.env.DATABASE_URL;
/** Where `relay schema --out` wrote. */
const folder = process.env.FOLDER;
if (!url || !folder) throw new Error('DATABASE_URL or FOLDER is not set: run these tests with `go test ./clients/node -run TestSchema`');

const pool = new Pool({ connectionString: url });
after(() => pool.end());

const outbox = createOutbox();
const Emitted = defineEvent()({ topic: 'emitted', type: 'Emitted' });

/** Emits the event for which schema_test.go looks. */
const emit = (tx) => outbox.emit(tx, Emitted, { by: 'emit' });

/** Compiles what relay wrote and what the test wrote beside it, and returns where the JavaScript is. */
function compile(...files) {
  const to = join(folder, 'dist');
  const options = ['--rootDir', folder, '--outDir', to, '--target', 'es2022', '--module', 'nodenext', '--moduleResolution', 'nodenext', '--types', 'node', '--strict', '--skipLibCheck'];
  run('typescript/bin/tsc', ...options, ...files.map((file) => join(folder, file)));
  return to;
}

/** Runs a program of node_modules in the folder and returns what it printed. */
function run(program, ...args) {
  const file = join(__dirname, '../../../node_modules', program);
  try {
    return execFileSync(process.execPath, [file, ...args], { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    throw new Error(`${program} ${args.join(' ')}: ${error.message}\n${error.stdout}${error.stderr}`);
  }
}

/** A role that may insert events and nothing else: how to connect as it. Its name goes with the database's. */
async function writer() {
  const role = `writer_of_${new URL(url).pathname.slice(1)}`;
  await pool.query(`create role "${role}" login`);
  execFileSync(process.env.RELAY, ['migrate', 'up', '--grant-writer', role]);
  after(() => pool.query(`drop owned by "${role}"; drop role "${role}"`));
  const its = new URL(url);
  its.username = role;
  return its.toString();
}

/** What is in the outbox: relations with their columns, and functions. */
async function outboxNow() {
  const { rows } = await pool.query(`
select relname as name, (select json_agg(attname order by attnum) from pg_attribute where attrelid = c.oid and attnum > 0)::text as what
  from pg_class c where relnamespace = 'outbox'::regnamespace
union all select proname, prosrc from pg_proc where pronamespace = 'outbox'::regnamespace order by 1, 2`);
  return rows;
}

module.exports = { url, folder, pool, emit, compile, run, writer, outboxNow };
