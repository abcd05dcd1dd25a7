// needs: npm, tar, skopeo, docker-registry
/** The package as it is published: its command line and library do what the sources do, and its page's programs run. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  createReadStream,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { tarOf, writeLayout } from '../test-images/build.ts';
import { command } from '../test-images/command.ts';
import { programsOf } from '../test-images/page.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import { forgottenExports } from './declarations.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const work = mkdtempSync('/var/tmp/rechunk-package-');
const programs = join(work, 'programs');
const installed = join(programs, 'node_modules/rechunk');
const archives = ['3.10.4', '3.11.5'].map(
  (version) => `${root}test-images/packages/apk/alpine-${version}-docker.tar.gz`,
) as [string, string];
const image = `docker-archive:${archives[1]}`;
const digests = JSON.parse(
  readFileSync(`${root}test-images/golden/alpine-3.11.5-digests.json`, 'utf8'),
);
let registry: Registry;

const run = (program: string, args: readonly string[], cwd = work): string =>
  execFileSync(program, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

test.before(async () => {
  // Runs the build.
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', work], root));
  mkdirSync(installed, { recursive: true });
  run('tar', ['-xf', packed.filename, '--strip-components=1', '-C', installed]);
  symlinkSync(`${root}node_modules`, join(installed, 'node_modules'));
  symlinkSync(`${root}node_modules/@types`, join(programs, 'node_modules/@types'));
  registry = await startRegistry();
});

test.after(async () => {
  await registry?.stop();
  rmSync(work, { recursive: true });
});

test('its command line gives the digests that the sources give', () => {
  const { bin } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  for (const compression of ['zstd', 'gzip']) {
    const to = `oci:${join(work, compression)}:x`;
    const args = ['build', image, to, '--platform', 'linux/amd64', '--compression', compression];
    const { digest } = JSON.parse(
      run(process.execPath, [join(installed, bin.rechunk), ...args, '--json']),
    );
    assert.equal(digest, digests[compression]);
  }
});

test('its declarations name no type that is not exported', () => {
  const entries = ['rechunk/library', 'registry/registry'];
  const files = entries.map((entry) => join(installed, `dist/${entry}.d.ts`));
  // Inner parts of what programs are handed and do not make.
  const inner = [
    'Body',
    'Contents',
    'ExistingLayer',
    'Flaw',
    'Names',
    'OBSTACLES',
    'Rules',
    'brand',
  ];
  assert.deepEqual(forgottenExports(files), inner);
});

/** Pushes two versions of an image, and one that is derived from the first. */
async function pushImages(): Promise<void> {
  const layout = join(work, 'images');
  const [first, second] = await Promise.all(
    archives.map((archive) => command('tar', ['-xzOf', archive, '--wildcards', '*/layer.tar'])),
  );
  mkdirSync(join(work, 'own/opt'), { recursive: true });
  writeFileSync(join(work, 'own/opt/file'), 'derived');
  const own = await tarOf(join(work, 'own'), join(work, 'own.tar'));
  await writeLayout(layout, [
    { layers: [{ tar: first as Buffer }], tag: 'app-1' },
    { layers: [{ tar: second as Buffer }], tag: 'app-2' },
    { layers: [{ tar: first as Buffer }, { tar: own }], tag: 'derived-1' },
  ]);
  for (const name of ['app:1', 'app:2', 'derived:1']) {
    const from = `oci:${layout}:${name.replace(':', '-')}`;
    const to = `docker://${registry.host}/${name}`;
    await command('skopeo', ['copy', '-q', '--dest-tls-verify=false', from, to]);
  }
}

/** What each program of the page prints, in the order in which they stand there. */
const PRINTED: readonly (readonly [string, RegExp])[] = [
  ['build.ts', /^sha256:[0-9a-f]{64} \d+ layers, [1-9]\d+ bytes sent\n$/],
  [
    'look.ts',
    /^\d+ of \d+ layers would be kept\n[1-9]\d* packages differ, [1-9]\d+ bytes .*\nequal\nright everywhere\n$/,
  ],
  ['stream.ts', /^sha256:[0-9a-f]{64} [1-9]\d+ bytes sent\n$/],
  [
    'base.ts',
    /^\[ 'base', .*'application:\/opt'.*\]\ncd .*unpacked && mount -t overlay .*lowerdir=002:001.*\n$/,
  ],
  ['errors.ts', /^not-found .*app:none.*\n$/],
  ['own.ts', /^1\n$/],
];

test('the programs of the library’s page compile against it and run', async () => {
  await pushImages();
  const page = programsOf(`${root}rechunk/LIBRARY.md`, registry.host);
  assert.deepEqual(
    [...page.keys()],
    PRINTED.map(([name]) => name),
  );
  writeFileSync(join(programs, 'package.json'), '{ "type": "module" }');
  for (const [name, program] of page) writeFileSync(join(programs, name), program);
  const options = {
    module: 'nodenext',
    target: 'es2023',
    lib: ['es2024'],
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    noEmit: true,
    skipDefaultLibCheck: true,
    erasableSyntaxOnly: true,
  };
  writeFileSync(
    join(programs, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: options, files: [...page.keys()] }),
  );
  compile();
  for (const [name, wanted] of PRINTED) {
    const printed = await runProgram(name);
    assert.ok(wanted.test(printed), `${name} printed ${printed}`);
  }
});

/** Says where the compiler complains, which it does on standard output. */
function compile(): void {
  const found = spawnSync(`${root}node_modules/.bin/tsc`, ['-p', 'tsconfig.json'], {
    cwd: programs,
    encoding: 'utf8',
  });
  assert.equal(found.stdout, '');
  assert.equal(found.status, 0);
}

/** Runs a program of the page with an archive on its standard input; gives what it printed. */
async function runProgram(name: string): Promise<string> {
  const input = createReadStream(archives[1]);
  const flags = ['--disable-warning=ExperimentalWarning'];
  const stdout = await command(process.execPath, [...flags, name], { cwd: programs, input });
  return stdout.toString();
}

test.run();
