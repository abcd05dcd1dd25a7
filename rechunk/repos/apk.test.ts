import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { test } from 'uvu';
import { RechunkError } from '../../registry/errors.ts';
import type { Path } from '../../registry/path.ts';
import { memoryTree, specsOfDockerArchive } from '../../test-images/trees.ts';
import { assign } from '../assign.ts';
import { locator } from '../components.ts';
import type { Tree } from '../tree.ts';
import { apk, parseChecksum, parseInstalled } from './apk.ts';

const SEED = 20_261_121;
const DATA = new URL('../../test-images/packages/apk/', import.meta.url);

interface Facts {
  readonly npackages: number;
  readonly norigins: number;
  readonly nfiles: number;
  readonly packages: readonly {
    readonly name: string;
    readonly version: string;
    readonly origin: string;
    readonly buildtime: number;
    readonly files: readonly { readonly path: string; readonly z: string }[];
  }[];
  readonly verified_against_root: {
    readonly checked_equal: number;
    readonly detail: readonly (readonly [string, string])[];
  };
  readonly unowned_nondir_count: number;
  readonly unowned_nondir_not_busybox_links: readonly string[];
}

const factsOf = (version: string): Facts =>
  JSON.parse(String(readFileSync(new URL(`alpine-${version}-expected.json`, DATA))));
const treeOf = async (version: string): Promise<Tree> =>
  memoryTree(
    await specsOfDockerArchive(readFileSync(new URL(`alpine-${version}-docker.tar.gz`, DATA))),
  );

for (const version of ['3.10.4', '3.11.5']) {
  test(`reads every package and file of Alpine ${version}`, async () => {
    const facts = factsOf(version);
    const text = (await (await treeOf(version)).read('lib/apk/db/installed')) as Buffer;
    const packages = parseInstalled(text.toString('latin1'));
    assert.deepEqual(
      packages,
      facts.packages.map(({ name, version, origin, buildtime, files }) => ({
        name,
        version,
        origin,
        buildTime: buildtime,
        files: files.map(({ path, z }) => ({ path, digest: parseChecksum(z) })),
      })),
    );
    assert.equal(packages.length, facts.npackages);
    assert.equal(new Set(packages.map(({ origin }) => origin)).size, facts.norigins);
    assert.equal(packages.flatMap(({ files }) => files).length, facts.nfiles);
  });

  test(`gives the files of Alpine ${version} to their origins where the checksum agrees`, async () => {
    const facts = factsOf(version);
    const tree = await treeOf(version);
    const detection = await apk.detect(tree);
    assert.ok(detection);
    const { components, warnings } = await assign(tree, [detection]);
    const owners = new Map(
      components.flatMap(({ id, entries }) => entries.map(({ path }) => [`${path}`, id])),
    );
    const changed = facts.verified_against_root.detail.map(([, path]) => path);
    const equal = facts.packages.flatMap(({ files, origin }) =>
      files.filter(({ path }) => owners.get(path) === `apk:${origin}`),
    );
    assert.equal(equal.length, facts.verified_against_root.checked_equal);
    assert.deepEqual(changed, ['etc/shadow']);
    assert.equal(owners.get('etc/shadow'), 'generated:volatile');
    assert.deepEqual(warnings, [
      '1 file differs from what packages shipped and lies outside their layers: /etc/shadow',
    ]);
  });

  test(`gives what no package of Alpine ${version} lists to what it belongs with`, async () => {
    const facts = factsOf(version);
    const tree = await treeOf(version);
    const detection = await apk.detect(tree);
    assert.ok(detection);
    const locate = locator(tree);
    const claimed = new Set(detection.claims.map(({ path }) => locate(path)));
    const unowned = tree.entries.filter(
      ({ path, inode }) => inode.type !== 'dir' && !claimed.has(path),
    );
    assert.equal(unowned.length, facts.unowned_nondir_count);
    const { components } = await assign(tree, [detection]);
    const owners = new Map(
      components.flatMap(({ id, entries }) => entries.map(({ path }) => [`${path}`, id])),
    );
    const expected = new Set(facts.unowned_nondir_not_busybox_links);
    for (const { path } of unowned.filter(({ path }) => !expected.has(path)))
      assert.equal(owners.get(path), 'apk:busybox', path);
    for (const path of expected)
      assert.match(String(owners.get(path)), /^(config|database:apk)$/, path);
    assert.equal(owners.get('lib/apk/db/installed'), 'database:apk');
    assert.equal(owners.get('etc/apk/world'), 'database:apk');
  });
}

test('dates an origin by the builds of its packages', async () => {
  const detection = await apk.detect(await treeOf('3.10.4'));
  assert.deepEqual(
    detection?.components.find(({ id }) => id === 'apk:musl'),
    {
      id: 'apk:musl',
      kind: 'package',
      packages: ['musl 1.1.22-r3', 'musl-utils 1.1.22-r3'],
      changeTimes: [1_565_162_130],
      changesFrom: 'build',
    },
  );
});

test('reads checksums of all ages', () => {
  const digest = (algorithm: string): Buffer => createHash(algorithm).update('x').digest();
  for (const [prefix, algorithm] of [
    ['Q1', 'sha1'],
    ['Q2', 'sha256'],
  ] as const) {
    const bytes = digest(algorithm);
    assert.deepEqual(parseChecksum(prefix + bytes.toString('base64')), {
      algorithm,
      hex: bytes.toString('hex'),
    });
  }
  const hex = digest('md5').toString('hex');
  assert.deepEqual(parseChecksum(hex), { algorithm: 'md5', hex });
  for (const text of ['', 'Q1', 'Q3AAAA', 'Q1AAAA', `Q2${digest('sha1').toString('base64')}`])
    assert.equal(parseChecksum(text), undefined, text);
});

test('checks a symlink by its target, and files of the newer layout', async () => {
  const q1 = (text: string): string => `Q1${createHash('sha1').update(text).digest('base64')}`;
  const installed = `P:a\nV:1\nF:\nR:root\nF:usr/lib\nM:0:0:755\nR:same\na:0:0:777\nZ:${q1('to')}\nR:other\nZ:${q1('elsewhere')}\nR:f\nZ:${q1('f')}\n`;
  const tree = memoryTree([
    { path: 'usr/lib/apk/db/installed', content: installed },
    { path: 'lib', target: 'usr/lib' },
    { path: 'root', content: 'unchecked' },
    { path: 'usr/lib/same', target: 'to' },
    { path: 'usr/lib/other', target: 'to' },
    { path: 'usr/lib/f', content: 'f' },
    { path: 'usr/lib/apk/db/installed.adb' },
  ]);
  const detection = await apk.detect(tree);
  assert.ok(detection);
  assert.deepEqual(
    detection.claims.map(({ path }) => path),
    ['root', 'usr/lib/same', 'usr/lib/other', 'usr/lib/f'],
    'one database, though two paths lead to it',
  );
  assert.deepEqual(detection.warnings, [
    "/usr/lib/apk/db/installed.adb is in apk 3's binary form, which is not read",
  ]);
  const { components } = await assign(tree, [detection]);
  const [a] = components.filter(({ id }) => id === 'apk:a');
  assert.deepEqual(
    a?.entries.map(({ path }) => path),
    ['root', 'usr/lib/f', 'usr/lib/same'],
  );
});

test('a stanza without a name keeps its files to itself, and empty lines are none', () => {
  const packages = parseInstalled('\n\nF:usr\nR:x\n\n\n\nP:a\nV:1\nF:etc\nR:y\n\n\n');
  assert.deepEqual(
    packages.map(({ name, files }) => [name, files.map(({ path }) => path)]),
    [['a', ['etc/y']]],
  );
});

test('survives hostile databases', async () => {
  const line = fc.constantFrom(
    'P:a',
    'P:../x',
    'o:..',
    'V:',
    't:-1',
    't:1e999',
    'F:..',
    'F:/loop',
    'F:',
    'R:x',
    'R:../../a',
    'R:',
    'Z:Q1',
    'Z:Q1////',
    'a:',
    '',
    'x',
    '\0:\0',
    `R:${'y'.repeat(9000)}`,
  );
  const text = fc.oneof(
    fc.array(line, { maxLength: 40 }).map((lines) => lines.join('\n')),
    fc.string({ unit: 'binary', maxLength: 300 }),
  );
  await fc.assert(
    fc.asyncProperty(text, async (installed) => {
      const tree = memoryTree([
        { path: 'lib/apk/db/installed', content: installed },
        { path: 'loop', target: 'loop' },
        { path: 'x', content: 'x' },
      ]);
      const detection = await apk.detect(tree).catch((error: unknown) => {
        assert.ok(error instanceof RechunkError && error.code === 'database', String(error));
      });
      for (const { id } of detection?.components ?? []) assert.match(id, /^apk:\w[\w+.~-]*$/);
      const { components } = await assign(tree, detection ? [detection] : []);
      assert.deepEqual(
        components.flatMap(({ entries }) => entries.map(({ path }) => path)).sort(),
        ['lib/apk/db/installed', 'loop', 'x'],
      );
    }),
    { seed: SEED, numRuns: 300 },
  );
  assert.equal(await apk.detect(memoryTree([{ path: 'x' as Path }])), undefined);
});

test.run();
