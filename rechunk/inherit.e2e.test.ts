// needs: python3, docker-registry, tar
/**
 * The same content installed again at another moment: real packages by pip, and a distribution's image with a registry's own log
 * for what is sent. Python itself says which compiled files it takes. Wants python3 with venv, and the package registry that pip
 * is set up for.
 */
import assert from 'node:assert/strict';
import {
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { jsonHere, runHere } from '../test-images/cli.ts';
import { command } from '../test-images/command.ts';
import { startRegistry } from '../test-images/registry.ts';
import type { Inspection } from './inspect.ts';
import type { BuildResult } from './rechunk.ts';
import type { Verification } from './verify.ts';

const directory = mkdtempSync('/var/tmp/rechunk-inherit-');
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

const PACKAGES = ['flask==3.1.3', 'requests==2.34.2'];
/** Times of files are told apart by the second. */
const TICK_MS = 1100;

/** Installs the packages and gives the tree as a reference; always at the same place, since compiled files hold their path. */
async function install(name: string): Promise<string> {
  const root = join(directory, 'root');
  const pip = join(directory, 'tool/bin/python');
  const options = ['-m', 'pip', '-q', '--disable-pip-version-check', 'install'];
  await command(pip, [...options, '--prefix', join(root, 'app'), ...PACKAGES]);
  renameSync(root, join(directory, name));
  await sleep(TICK_MS);
  return `rootfs:${join(directory, name)}`;
}

const layersOf = async (image: string): Promise<string[]> =>
  (await jsonHere<Inspection>(['inspect', image])).layers.map(({ digest }) => digest);

/** How Python starts with the modules below `root`: which compiled files it takes, and which sources it compiles. */
async function start(root: string): Promise<{ taken: number; compiled: number }> {
  const [site = ''] = globSync(join(root, 'app/lib/python*/site-packages'));
  assert.ok(site);
  const script = 'import flask, requests';
  const env = { PYTHONPATH: site, PYTHONDONTWRITEBYTECODE: '1' };
  const said = String(await command('sh', ['-c', `exec python3 -v -c "${script}" 2>&1`], { env }));
  const count = (pattern: RegExp): number =>
    [...said.matchAll(pattern)].filter(([, path]) => path?.startsWith(site)).length;
  return {
    taken: count(/^# \S+\.pyc matches (\S+\.py)$/gm),
    compiled: count(/^# code object from '?([^'\s]+\.py)'?$/gm),
  };
}

test('packages that pip installs again are the same layers, and Python compiles nothing', async () => {
  await command('python3', ['-m', 'venv', join(directory, 'tool')]);
  const [first, second] = [await install('first'), await install('second')];
  const image = (tag: string): string => `oci:${join(directory, 'python')}:${tag}`;
  const plain = ['--compression', 'none'];
  const before = await jsonHere<BuildResult>(['build', first, image('first'), ...plain]);
  const to = [second, image('second'), ...plain, '--previous', image('first')];
  const after = await jsonHere<BuildResult>(['build', ...to, '--verify']);
  assert.equal(after.digest, before.digest);
  assert.equal(after.images[0]?.sentBytes, 0);
  const counts = new Map(after.images[0]?.excuses.map(({ kind, count }) => [kind, count]));
  assert.ok((counts.get('inherited-time') ?? 0) > 300 && (counts.get('pyc-inherited') ?? 0) > 200);

  const proof = ['verify', second, image('second')];
  const proved = await jsonHere<Verification>([...proof, '--previous', image('first')]);
  assert.deepEqual([proved.equal, proved.unproven], [true, 0]);
  const open = JSON.parse((await runHere([...proof, '--json'])).stdout) as Verification;
  assert.deepEqual([open.equal, open.unproven], [false, open.differences.length]);

  const unpacked = join(directory, 'unpacked');
  mkdirSync(unpacked);
  for (const digest of await layersOf(image('second'))) {
    const blob = join(directory, 'python/blobs', digest.replace(':', '/'));
    await command('tar', ['-C', unpacked, '-xf', blob]);
  }
  const started = await start(unpacked);
  assert.ok(started.taken > 50, `${started.taken} taken`);
  assert.equal(started.compiled, 0);
  // What the check would say of one stale file.
  const [source = ''] = globSync(join(unpacked, 'app/lib/*/site-packages/flask/__init__.py'));
  utimesSync(source, 1, 1);
  assert.deepEqual(await start(unpacked), { taken: started.taken - 1, compiled: 1 });
});

/** Gives every file below `root` the time `seconds`, links too. */
const stamp = (root: string, seconds: number): Promise<Buffer> =>
  command('python3', [
    '-c',
    `import os, sys
for top, dirs, files in os.walk(sys.argv[1]):
  for name in dirs + files: os.utime(os.path.join(top, name), (${seconds}, ${seconds}), follow_symlinks=False)`,
    root,
  ]);

test('of a distribution’s image that was built again nothing is sent but its package database', async () => {
  const packages = fileURLToPath(new URL('../test-images/packages/apk/', import.meta.url));
  const archive = join(packages, 'alpine-3.11.5-docker.tar.gz');
  const roots = ['alpine-1', 'alpine-2'].map((name) => join(directory, name));
  const [one = '', two = ''] = roots;
  mkdirSync(one);
  const layer = join(directory, 'layer.tar');
  await command('sh', ['-c', `tar -xOzf ${archive} --wildcards '*/layer.tar' > ${layer}`]);
  await command('tar', ['-C', one, '--no-same-owner', '-xf', layer]);
  await command('cp', ['-a', one, two]);
  await stamp(one, 1_700_000_000);
  await stamp(two, 1_700_500_000);
  const database = join(two, 'lib/apk/db/installed');
  const blocks = readFileSync(database, 'latin1')
    .split('\n\n')
    .filter((block) => block.trim());
  writeFileSync(database, `${blocks.reverse().join('\n\n')}\n\n`, 'latin1');
  const registry = await startRegistry();
  try {
    const image = `docker://${registry.host}/alpine:latest`;
    await jsonHere(['build', `rootfs:${one}`, image]);
    const had = new Set(await layersOf(image));
    const asked = registry.accessLog().length;
    const built = await jsonHere<BuildResult>(['build', `rootfs:${two}`, image, '--verify']);
    const changed = built.images[0]?.layers.filter(({ digest }) => !had.has(digest)) ?? [];
    // Small components share a layer with it.
    assert.equal(changed.length, 1);
    assert.ok(changed[0]?.components.includes('database:apk'));
    const sent = registry
      .accessLog()
      .slice(asked)
      .filter(({ method, path }) => method === 'PUT' && path.includes('/blobs/'))
      .map(({ path }) => decodeURIComponent(/digest=([^&]+)/.exec(path)?.[1] ?? ''));
    assert.equal(sent.length, 2);
    assert.ok(sent.includes(changed[0]?.digest ?? ''));
  } finally {
    await registry.stop();
  }
});

test.run();
