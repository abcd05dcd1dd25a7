/** Times of the previous image on the command line: what is inherited, what it costs to read, how it is proved. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import { packTar } from '../../registry/tarwriter.ts';
import { writeLayout } from '../../test-images/build.ts';
import { jsonHere, runHere } from '../../test-images/cli.ts';
import { makePyc } from '../../test-images/pyc.ts';
import type { Inspection } from '../inspect.ts';
import type { BuildResult } from '../rechunk.ts';
import type { Verification } from '../verify.ts';

const directory = mkdtempSync(join(process.env['TMPDIR'] ?? '/tmp', 'rechunk-inherit-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

/** Seconds of the first, the second and a third installation. */
const [FIRST, SECOND, THIRD] = [1_700_000_000, 1_700_500_000, 1_700_900_000];

/** Content that no compressor makes smaller, so that each application has a layer of its own. */
function noise(seed: string): Buffer {
  const part = (i: number): Buffer => createHash('sha256').update(`${seed} ${i}`).digest();
  return Buffer.concat(Array.from({ length: 30_000 }, (_, i) => part(i)));
}

/** Installs two applications at a moment; `more` is added or takes a file's place. Gives the reference. */
function install(
  name: string,
  seconds: number,
  more: Readonly<Record<string, string>> = {},
): string {
  const root = join(directory, name);
  const files: Record<string, string | Buffer> = {
    'opt/a/data': noise('a'),
    'opt/a/m.py': 'source',
    'opt/a/__pycache__/m.cpython-311.pyc': makePyc({ seconds, size: 6 }),
    'opt/b/data': noise('b'),
    ...more,
  };
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
    lutimesSync(join(root, path), seconds, seconds);
  }
  return `rootfs:${root}`;
}

const first = install('first', FIRST);
const second = install('second', SECOND);
const layout = join(directory, 'layout');
const image = (tag: string): string => `oci:${layout}:${tag}`;

const build = (source: string, tag: string, ...options: string[]): Promise<BuildResult> =>
  jsonHere<BuildResult>(['build', source, image(tag), ...options]);

const excusesOf = ({ images: [built] }: BuildResult): unknown[] =>
  (built?.excuses ?? [])
    .filter(({ kind }) => kind !== 'dir-mtime')
    .map(({ kind, count }) => [kind, count]);

/** The layer that holds a component. */
async function layerOf(tag: string, component: string): Promise<string> {
  const { layers } = await jsonHere<Inspection>(['inspect', image(tag)]);
  const layer = layers.find(({ components }) => components?.includes(component));
  assert.ok(layer, `no layer of ${tag} holds ${component}`);
  return layer.digest;
}

let original = '';
test.before(async () => {
  original = (await build(first, 'first')).digest;
});

test('the same content installed again gives the same digest, and says what was done', async () => {
  await build(first, 'again');
  const { status, stdout, stderr } = await runHere(['build', second, image('again'), '--json']);
  assert.equal(status, 0, stderr);
  const result = JSON.parse(stdout) as BuildResult;
  assert.equal(result.digest, original);
  assert.deepEqual(excusesOf(result), [
    ['inherited-time', 3],
    ['pyc-inherited', 1],
  ]);
  assert.match(stderr, /note: 3 entries as in the previous image keep the times there/);
  assert.match(stderr, /note: 1 compiled Python file taken from the previous image/);
});

test('--no-inherit-pyc keeps a source and what is compiled of it as they are', async () => {
  const result = await build(second, 'apart', '--previous', image('first'), '--no-inherit-pyc');
  assert.notEqual(result.digest, original);
  assert.deepEqual(excusesOf(result), [['inherited-time', 2]]);
});

test('an explicit --mtime, and --fresh, inherit nothing', async () => {
  const fresh = await build(second, 'new');
  const previous = ['--previous', image('first')];
  const kept = await build(second, 'kept', ...previous, '--mtime', 'keep');
  assert.deepEqual([excusesOf(fresh), excusesOf(kept)], [[], []]);
  const dated = await build(second, 'dated', ...previous, '--mtime', '2024-01-01');
  assert.deepEqual(excusesOf(dated)[0], ['mtime', 3]);
});

test('SOURCE_DATE_EPOCH clamps what is new and no inherited time', async () => {
  const source = install('more', SECOND, { 'opt/b/new': 'new' });
  const env = { SOURCE_DATE_EPOCH: '1600000000' };
  const args = ['build', source, image('epoch'), '--previous', image('first')];
  const result = await jsonHere<BuildResult>(args, { env });
  assert.deepEqual(excusesOf(result), [
    ['inherited-time', 3],
    ['pyc-inherited', 1],
    ['mtime', 1],
  ]);
});

test('verify proves what was inherited with the previous image, and lists it without', async () => {
  const pair = [second, image('first')];
  const proved = await jsonHere<Verification>(['verify', ...pair, '--previous', image('first')]);
  assert.deepEqual([proved.equal, proved.differences, proved.unproven], [true, [], 0]);
  assert.deepEqual(
    proved.excuses.map(({ kind }) => kind),
    ['inherited-time', 'pyc-inherited', 'dir-mtime'],
  );
  const open = await runHere(['verify', ...pair, '--quiet']);
  assert.equal(open.status, 1);
  assert.match(open.stdout, /^\/opt\/a\/data: mtime: want 1700500000, got 1700000000$/m);
  assert.match(
    open.stdout,
    /^different: 5 differences\n5 of them may be as in a previous image, which --previous IMAGE would prove$/m,
  );
  const json = await runHere(['verify', ...pair, '--quiet', '--json']);
  const { equal, differences, unproven } = JSON.parse(json.stdout) as Verification;
  assert.deepEqual([equal, unproven], [false, 5]);
  assert.ok(differences.every((one) => one.unproven));
  const strict = await runHere([
    'verify',
    ...pair,
    '--previous',
    image('first'),
    '--no-inherit-pyc',
  ]);
  assert.equal(strict.status, 1);
  assert.match(strict.stdout, /different: 3 differences\n$/);
});

/** Takes a layer's blob out of the layout while `work` runs. */
async function without<T>(digest: string, work: () => Promise<T>): Promise<T> {
  const blob = join(layout, 'blobs', digest.replace(':', '/'));
  renameSync(blob, join(directory, 'away'));
  try {
    return await work();
  } finally {
    renameSync(join(directory, 'away'), blob);
  }
}

test('of the previous image only layers are read that hold what differs', async () => {
  const a = await layerOf('first', 'application:/opt/a');
  const b = await layerOf('first', 'application:/opt/b');
  assert.notEqual(a, b);
  // Application b is installed at the same moment, with one application changed and the other as it was.
  const half = install('half', SECOND);
  lutimesSync(join(directory, 'half/opt/b/data'), FIRST, FIRST);
  const to = `oci:${join(directory, 'half-out')}:x`;
  const args = ['build', half, to, '--previous', image('first'), '--recompress'];
  const built = await without(b, () => jsonHere<BuildResult>(args));
  assert.equal(built.digest, original);
  const failed = await without(a, () => runHere([...args, '--quiet']));
  assert.equal(failed.status, 2);
  const says =
    /inheriting times from oci:.*:first \(--mtime keep and --fresh do without\): .*layer \d/;
  assert.match(failed.stderr, says);
  const kept = await without(a, () => runHere([...args, '--mtime', 'keep']));
  assert.equal(kept.status, 0, kept.stderr);
});

test('layers that were put on top of a rechunked image are read too', async () => {
  const below = join(directory, 'below');
  await jsonHere(['build', first, `oci:${below}:x`, '--compression', 'none']);
  const { layers, labels } = await jsonHere<Inspection>(['inspect', `oci:${below}:x`]);
  const { uid, gid, mode } = statSync(join(directory, 'first/opt/b/data'));
  const mtime = BigInt(THIRD) * 1_000_000_000n;
  const changed = { path: 'opt/b/data', mode: mode & 0o7777, uid, gid, mtime, content: noise('b') };
  const tar = packTar([changed]);
  const above = join(directory, 'above');
  const blobs = layers.map(({ digest }) => ({
    tar: join(below, 'blobs', digest.replace(':', '/')),
  }));
  await writeLayout(above, [{ layers: [...blobs, { tar }], config: { Labels: labels } }]);
  // Of what is below everything is as it was, so that only the layer on top is read.
  const previous = ['--previous', `oci:${above}:latest`];
  const result = await build(first, 'from-above', ...previous);
  assert.deepEqual(excusesOf(result), [['inherited-time', 1]]);
  const proof = ['verify', first, image('from-above'), ...previous];
  assert.equal((await jsonHere<Verification>(proof)).equal, true);
});

test('compiled files that a package ships are not taken, since its database states their content', async () => {
  const database = (seconds: number): Record<string, string> => {
    const digest = createHash('sha1')
      .update(makePyc({ seconds, size: 6 }))
      .digest('base64');
    const files = `F:opt/a/__pycache__\nR:m.cpython-311.pyc\nZ:Q1${digest}\n`;
    return { 'lib/apk/db/installed': `P:a\nV:1\n${files}\n` };
  };
  const first = install('apk-1', FIRST, database(FIRST));
  await build(first, 'apk');
  const source = install('apk-2', SECOND, database(SECOND));
  assert.deepEqual(excusesOf(await build(source, 'apk')), [['inherited-time', 2]]);
  const proof = ['verify', source, image('apk'), '--previous', first];
  assert.equal((await jsonHere<Verification>(proof)).equal, true);
});

test('an image without a plan is read whole', async () => {
  // A root file system records no plan.
  const result = await build(second, 'from-plain', '--previous', first);
  assert.deepEqual(excusesOf(result), [
    ['inherited-time', 3],
    ['pyc-inherited', 1],
  ]);
});

test('--dir-mtime keep inherits times of directories too', async () => {
  const [one, two] = [install('one', FIRST), install('two', SECOND)];
  for (const [name, seconds] of [
    ['one', FIRST],
    ['two', SECOND],
  ] as const) {
    for (const path of ['opt/a/__pycache__', 'opt/a', 'opt/b', 'opt', '']) {
      lutimesSync(join(directory, name, path), seconds, seconds);
    }
  }
  const before = await build(one, 'dirs', '--dir-mtime', 'keep');
  const after = await build(two, 'dirs', '--dir-mtime', 'keep');
  assert.equal(after.digest, before.digest);
});

test.run();
