// Installs what the example needs and compiles it. The packages of this repository are compiled into node_modules, as
// installing them would; they are not in package.json, because npm would look for them in its registry.

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';

const here = import.meta.dirname;
const clients = join(here, '../../clients/node');
const modules = join(here, 'node_modules');

function run(command, ...args) {
  const { status, error } = spawnSync(command, args, { cwd: here, stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) throw new Error(`${command} ${args[0]} failed: ${error?.message ?? `code ${status}`}`);
}

const installed = join(modules, '.package-lock.json');
const changed = (file) => statSync(join(here, file)).mtimeMs;
if (!existsSync(installed) || statSync(installed).mtimeMs < changed('package-lock.json')) run('npm', 'ci', '--silent');

const compile = (...args) => run(process.execPath, join(modules, 'typescript/bin/tsc'), ...args);
cpSync(join(clients, 'tsconfig.base.json'), join(modules, 'tsconfig.base.json'));
for (const name of ['core', 'nestjs']) {
  const to = join(modules, '@outboxrelay', name);
  rmSync(to, { recursive: true, force: true });
  mkdirSync(to, { recursive: true });
  for (const part of ['package.json', 'tsconfig.json', 'src']) cpSync(join(clients, 'packages', name, part), join(to, part), { recursive: true });
  // Their own tests check their types; some of those are of packages that this example has not.
  compile('-p', to, '--noCheck');
}
compile('-p', here);
