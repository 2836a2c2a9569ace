import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

// Runs the tests on Nest 12, which this package has, and on Nest 11, which the package nestjs-11 has: a copy of what
// was built is put there, so that its imports find that version. All share one PostgreSQL, one Kafka and four relays.
// Arguments are names of test files, without .test.js.

const packages = resolve(__dirname, '../..');
const repository = resolve(packages, '../../..');
const copy = join(packages, 'nestjs-11', 'copy');

async function main(): Promise<number> {
  rmSync(copy, { recursive: true, force: true });
  for (const part of ['package.json', 'dist', 'dist-test']) cpSync(join(packages, 'nestjs', part), join(copy, part), { recursive: true });

  // npm puts one copy of these at the top, where they find Nest 12.
  for (const name of ['nestjs-cls', '@nestjs-cls']) cpSync(join(packages, '../node_modules', name), join(copy, 'node_modules', name), { recursive: true });

  const legs = (process.env['LEGS'] ?? 'nest12,nest11').split(',');
  const relays = legs.flatMap((leg) => ['-relay', leg, '-relay', `${leg}_gzip=gzip`]);
  const stack = spawn('go', ['run', '-buildvcs=false', './internal/devenv/stack', ...relays], { cwd: repository, stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    const where = await firstLine(stack);
    let code = 0;
    for (const leg of legs) code ||= await runLeg(leg, where);
    return code;
  } finally {
    const ended = new Promise((done) => stack.once('close', done));
    stack.stdin!.end();
    await ended;
  }
}

function runLeg(leg: string, stack: string): Promise<number> {
  const folder = join(leg === 'nest11' ? copy : join(packages, 'nestjs'), 'dist-test');
  const wanted = process.argv.slice(2);
  const files = readdirSync(folder).filter((name) => name.endsWith('.test.js') && (wanted.length === 0 || wanted.some((one) => name === `${one}.test.js`)));
  if (files.length === 0 || !existsSync(folder)) throw new Error(`no tests in ${folder}`);
  console.log(`# ${leg}`);
  const tests = spawn(process.execPath, ['--test', '--test-concurrency=1', '--test-timeout=120000', ...files.map((name) => join(folder, name))], {
    stdio: 'inherit',
    env: { ...process.env, STACK: stack, LEG: leg, DOCS_DIR: join(repository, 'docs/nestjs') },
  });
  return new Promise((done) => tests.once('close', (code) => done(code ?? 1)));
}

function firstLine(program: ChildProcess): Promise<string> {
  return new Promise((done, fail) => {
    program.once('error', fail);
    program.once('close', (code) => fail(new Error(`the servers did not start: code ${code}`)));
    createInterface({ input: program.stdout! }).once('line', done);
  });
}

main().then(
  (code) => (process.exitCode = code),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
