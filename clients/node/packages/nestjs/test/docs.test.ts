import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { DataSource } from 'typeorm';
import { connect, database, leg } from './support';

// docs/nestjs: each page's TypeScript is compiled as the files its first lines name, and its tests are run.

const run = promisify(execFile);
const home = join(__dirname, '..');
const pages = process.env['DOCS_DIR'] ?? '';
const skip = leg === 'nest12' ? false : 'the types are those of Nest 12';

let ds: DataSource;
before(async () => void (ds = await connect()));
after(async () => ds?.destroy());

test('the snippets of docs/nestjs compile, and their tests pass', { skip }, async () => {
  const to = join(home, 'dist-test', 'docs');
  rmSync(to, { recursive: true, force: true });
  const tests: string[] = [];
  let blocks = 0;
  for (const page of readdirSync(pages).filter((name) => name.endsWith('.md'))) {
    for (const [, code] of readFileSync(join(pages, page), 'utf8').matchAll(/^```ts\n([\s\S]*?)^```$/gm)) {
      const name = /^\/\/ ([\w.-]+\.ts)\n/.exec(code!)?.[1];
      assert.ok(name, `${page}: a block of ts has to begin with a comment that names its file`);
      const file = join(to, page.replace('.md', ''), name);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, code!);
      if (name.endsWith('.test.ts')) tests.push(file.replace(/\.ts$/, '.js'));
      blocks += 1;
    }
  }
  assert.ok(blocks > 10 && tests.length > 0, `${blocks} blocks and ${tests.length} tests`);
  const options = { extends: '../../tsconfig.test.json', compilerOptions: { rootDir: '.', outDir: '.', noUnusedLocals: false }, include: ['.'], exclude: [] };
  writeFileSync(join(to, 'tsconfig.json'), JSON.stringify(options));
  await run(process.execPath, [require.resolve('typescript/package.json').replace('package.json', 'bin/tsc'), '-p', to]).catch((error) =>
    assert.fail(error.stdout),
  );
  for (const file of tests) {
    // The runner that runs this one must not make the reader's test report to it.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    await run(process.execPath, ['--test', file], { env: { ...env, DATABASE_URL: database } }).catch((error) => assert.fail(error.stdout));
  }
});
