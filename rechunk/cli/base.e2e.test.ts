/** `--base`: what a build leaves of a base, what it writes above it, and what it refuses. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import { digestOf, MEDIA } from '../../registry/oci.ts';
import { packTar, type TarItem } from '../../registry/tarwriter.ts';
import { type BuiltImage, type ImageInput, writeLayout } from '../../test-images/build.ts';
import { jsonHere, runHere } from '../../test-images/cli.ts';
import type { Inspection } from '../inspect.ts';
import type { BuildResult, PlanReport, Verification, Way } from '../library.ts';

const directory = mkdtempSync(join(process.env['TMPDIR'] ?? '/tmp', 'rechunk-base-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

const SECOND = 1_000_000_000n;
/** A time that no policy makes. */
const THEN = 1_700_000_000n * SECOND;

type Content = string | Partial<TarItem>;
/** Members by path: text is a file's content, and a name that ends in a slash is a directory. */
function layer(members: Readonly<Record<string, Content>>): Buffer {
  return packTar(
    Object.entries(members).map(([path, what]): TarItem => {
      const more = typeof what === 'string' ? { content: what } : what;
      return { path, mtime: THEN, ...more };
    }),
  );
}

const BOTTOM = layer({
  'etc/': {},
  'etc/gone': 'gone',
  'etc/kept': 'kept',
  'etc/marked': { content: 'marked', xattrs: new Map([['user.mark', Buffer.from('1')]]) },
  'opt/': { mode: 0o750 },
  'usr/': {},
  'usr/lib/': {},
  'usr/lib/tool': 'tool',
});
const SECOND_LAYER = layer({ 'etc/': {}, 'etc/second': 'second' });
const ABOVE = layer({ 'opt/': { mode: 0o750, mtime: THEN + SECOND }, 'opt/app': 'application' });

const annotations = { 'z.last': 'z', 'a.first': 'a' };
const bottom = [{ tar: BOTTOM, annotations }, { tar: SECOND_LAYER }];
const history = [
  { created_by: 'ADD bottom', created: '2026-01-01T00:00:00Z' },
  { created_by: 'ENV A=1', empty_layer: true },
  { created_by: 'ADD second' },
];
const more = [{ created_by: 'COPY app' }, { created_by: 'CMD app', empty_layer: true }];

let count = 0;
/** A layout of images; gives a reference by tag, and what was written. */
async function layout(images: Readonly<Record<string, Omit<ImageInput, 'tag'>>>): Promise<{
  readonly path: string;
  readonly ref: (tag: string) => string;
  readonly built: readonly BuiltImage[];
}> {
  const path = join(directory, `layout-${count++}`);
  const built = await writeLayout(
    path,
    Object.entries(images).map(([tag, image]) => ({ ...image, tag })),
  );
  return { path, ref: (tag) => `oci:${path}:${tag}`, built };
}

const pair = await layout({
  base: { layers: bottom, fields: { history } },
  app: {
    layers: [...bottom, { tar: ABOVE }],
    fields: { history: [...history, ...more] },
    config: { Env: ['A=1'] },
  },
});
const out = (tag: string): string => `oci:${join(directory, 'out')}:${tag}`;
const onBase = ['--base', pair.ref('base')];

const build = (from: string, tag: string, ...options: string[]): Promise<BuildResult> =>
  jsonHere<BuildResult>(['build', from, out(tag), '--fresh', ...options]);
const isEqual = async (a: string, b: string, ...options: string[]): Promise<boolean> =>
  (await jsonHere<Verification>(['verify', a, b, ...options])).equal;
const inspect = (reference: string): Promise<Inspection> =>
  jsonHere<Inspection>(['inspect', reference]);

/** A document of the output, as it is stored. */
const stored = (digest: string): string =>
  readFileSync(join(directory, 'out/blobs/sha256', digest.slice('sha256:'.length)), 'utf8');

test('the base’s descriptors are in the manifest as they were, and its history in the config', async () => {
  const { digest } = await build(pair.ref('app'), 'app', ...onBase, '--verify');
  const text = stored(digest);
  const [base] = pair.built as [BuiltImage];
  const had = readFileSync(join(pair.path, 'blobs/sha256', base.manifest.digest.slice(7)), 'utf8');
  const [, layers = '?'] = /"layers":\[(.*?)\](?=[,}])/.exec(had) ?? [];
  assert.ok(text.includes(`"layers":[${layers},`), text);
  const manifest = JSON.parse(text);
  const config = JSON.parse(stored(manifest.config.digest));
  assert.deepEqual(config.history.slice(0, 4), [...history, more[1]]);
  assert.deepEqual(config.rootfs.diff_ids.slice(0, 2), base.diffIds);
  assert.equal(manifest.annotations['org.opencontainers.image.base.digest'], base.manifest.digest);
  assert.ok(await isEqual(pair.ref('app'), out('app')));
});

test('directories that a base defines and then implies are stated again above it', async () => {
  const sparse = [
    { tar: layer({ 'usr/': {}, 'usr/lib/': { mode: 0o2750, gid: 9 }, 'usr/lib/a': 'a' }) },
    { tar: layer({ 'usr/lib/b': 'b' }) },
  ];
  const above = { tar: layer({ 'opt/': {}, 'opt/app': 'application' }) };
  const { ref } = await layout({ base: { layers: sparse }, app: { layers: [...sparse, above] } });
  for (const policy of ['full', 'shared', 'delegate']) {
    const tag = `sparse-${policy}`;
    await build(ref('app'), tag, '--base', ref('base'), '--parents', policy);
    const runtimes = 'podman-overlay,docker-overlay2,containerd-parallel';
    const verification = await jsonHere<Verification>([
      ...['verify', ref('app'), out(tag), '--runtimes', runtimes],
    ]);
    assert.ok(verification.equal);
    const verdicts = verification.runtimes?.map(({ verdict }) => verdict);
    assert.deepEqual(verdicts, ['right', 'right', 'right'], JSON.stringify(verification.runtimes));
  }
});

test('inspect says which layers are the base’s', async () => {
  const { layers } = await inspect(out('app'));
  assert.deepEqual(
    layers.map(({ role, components }) => role ?? components),
    ['base', 'base', ['application:/opt']],
  );
});

const policies: readonly (readonly string[])[] = [
  ['full'],
  ['shared'],
  ['shared', '--skeleton', 'both'],
  ['delegate'],
  ['delegate', '--delegate-fallback', 'neutral'],
  ['implicit'],
];
for (const [i, [policy = '', ...options]] of policies.entries()) {
  test(`files and xattrs of the base that are to go (${policy} ${options.join(' ')})`, async () => {
    const shape = ['--prune', '/etc/gone', '--prune', '/usr/lib', '--drop-xattr', 'user.*'];
    const tag = `shaped-${i}`;
    await build(pair.ref('app'), tag, ...onBase, '--parents', policy, ...options, ...shape);
    const { layers } = await inspect(out(tag));
    assert.deepEqual(
      layers.slice(0, 3).map(({ role }) => role),
      ['base', 'base', 'whiteouts'],
    );
    assert.ok(await isEqual(pair.ref('app'), out(tag), ...shape));
  });
}

test('an image that is its base has no layers of its own', async () => {
  const { images } = await build(
    pair.ref('base'),
    'same',
    ...onBase,
    '--verify',
    '--parents',
    'shared',
  );
  assert.deepEqual(
    images[0]?.layers.map(({ role }) => role),
    ['base', 'base'],
  );
});

test('a rebuild of the result is the result', async () => {
  const shared = ['--parents', 'shared', ...onBase];
  const { digest } = await build(pair.ref('app'), 'first', ...shared);
  await jsonHere([
    'build',
    out('first'),
    out('again'),
    ...shared,
    '--annotation',
    'dev.rechunk.source.digest-',
    '--fresh',
  ]);
  const [a, b] = [JSON.parse(stored(digest)), (await inspect(out('again'))).layers];
  assert.deepEqual(
    b.map((one) => one.digest),
    a.layers.map((one: { digest: string }) => one.digest),
  );
});

test('what equals the base keeps its time under every policy for times', async () => {
  const times = ['--mtime', '2020-01-01'];
  const { images } = await build(pair.ref('app'), 'dated', ...onBase, ...times);
  assert.deepEqual(images[0]?.layers.at(-1)?.components, ['application:/opt']);
  assert.equal(images[0]?.layers.length, 3);
  assert.ok(await isEqual(pair.ref('app'), out('dated'), ...times));
});

test('over a newer base every layer of ours that is as it was is used, and of the base what is new is copied', async () => {
  const newer = [...bottom.slice(0, 1), { tar: layer({ 'etc/': {}, 'etc/second': 'newer' }) }];
  const next = await layout({
    base: { layers: newer },
    app: { layers: [...newer, { tar: ABOVE }] },
  });
  const shared = ['--parents', 'shared'];
  await build(pair.ref('app'), 'older', ...onBase, ...shared);
  const options = ['--base', next.ref('base'), '--previous', out('older'), ...shared];
  const { images } = await jsonHere<BuildResult>([
    'build',
    next.ref('app'),
    out('newer'),
    ...options,
  ]);
  assert.deepEqual(
    images[0]?.layers.map(({ role, reused, known }) => [role, reused, known]),
    [
      ['base', true, true],
      ['base', false, true],
      ['content', true, true],
      ['skeleton', true, true],
    ],
  );
  const report = await jsonHere<PlanReport>(['plan', next.ref('app'), ...options]);
  assert.equal(report.now?.keptLayers, 3);
});

test('no time of the previous image makes a file differ that equals the base', async () => {
  const touched = (time: bigint): Record<string, Content> => ({
    'a/': {},
    'a/f': { content: 'x', mtime: time },
  });
  const times = await layout({
    before: { layers: [{ tar: layer({ ...touched(THEN - SECOND), 'a/g': 'y' }) }] },
    base: { layers: [{ tar: layer(touched(THEN)) }] },
    app: {
      layers: [
        { tar: layer(touched(THEN)) },
        { tar: layer({ 'a/g': { content: 'y', mtime: THEN + SECOND } }) },
      ],
    },
  });
  const { images } = await jsonHere<BuildResult>([
    ...['build', times.ref('app'), out('times'), '--base', times.ref('base')],
    ...['--previous', times.ref('before')],
  ]);
  assert.deepEqual(
    images[0]?.excuses.map(({ kind, count }) => [kind, count]),
    [['inherited-time', 1]],
  );
  assert.equal(images[0]?.layers.length, 2);
});

test('plan tells what keeping the base means, as the builds then measure it', async () => {
  const gone = ['--prune', '/etc/gone'];
  const over = [pair.ref('app'), ...onBase, ...gone];
  const { base: report } = await jsonHere<PlanReport>(['plan', ...over]);
  const sizes = async (tag: string, ...options: string[]): Promise<number[]> => {
    const { images } = await build(pair.ref('app'), tag, ...gone, ...options);
    const [image] = images;
    const own = image?.layers.filter(({ role }) => role !== 'base') ?? [];
    return [
      image?.layers.length ?? 0,
      image?.size ?? 0,
      own.reduce((sum, { size }) => sum + size, 0),
    ];
  };
  const shown = ({ layers, size, pullBytes }: Way): number[] => [layers, size, pullBytes];
  assert.ok(report);
  assert.deepEqual(shown(report.keep), await sizes('kept', ...onBase));
  assert.deepEqual(shown(report.flatten), await sizes('flat'));
  assert.deepEqual([report.layers, report.hidden.files, report.hidden.bytes], [2, 1, 4]);
  assert.ok(report.hidden.compressedBytes > 0 && report.size < report.keep.size);
  const { stdout } = await runHere(['plan', ...over, '--quiet']);
  assert.match(stdout, /\(the base’s\)/);
  assert.match(stdout, /the base oci:.*: 2 layers, .* 1 file of it, .*, is pulled and not shown/);
  assert.match(stdout, /^keep +4 .*\nflatten +\d/m);
});

test('a base that annotations name is opened by digest', async () => {
  const [base] = pair.built as [BuiltImage];
  const moved = await layout({ other: { layers: [{ tar: SECOND_LAYER }] } });
  const named = (digest: string): Promise<{ ref: (tag: string) => string }> =>
    layout({
      app: {
        layers: [...bottom, { tar: ABOVE }],
        annotations: {
          'org.opencontainers.image.base.name': pair.ref('app'),
          'org.opencontainers.image.base.digest': digest,
        },
      },
    });
  const { ref } = await named(base.manifest.digest);
  const { images } = await build(ref('app'), 'annotated', '--base', 'annotated');
  assert.equal(images[0]?.layers.filter(({ role }) => role === 'base').length, 2);
  const kept = (await inspect(out('annotated'))).annotations;
  assert.equal(kept['org.opencontainers.image.base.name'], pair.ref('app'));
  const lost = await named(moved.built[0]?.manifest.digest ?? '');
  const { status, stderr } = await runHere([
    'build',
    lost.ref('app'),
    out('lost'),
    '--base',
    'annotated',
  ]);
  assert.equal(status, 2);
  assert.match(
    stderr,
    /opening the base that the annotations of oci:.* name \(--base IMAGE names another\)/,
  );
});

test('annotations cannot make a build publish layers that the image does not have', async () => {
  const annotations = { 'org.opencontainers.image.base.name': pair.ref('base') };
  const { ref } = await layout({ app: { layers: [{ tar: ABOVE }], annotations } });
  const { status, stderr } = await runHere([
    'build',
    ref('app'),
    out('not'),
    '--base',
    'annotated',
  ]);
  assert.equal(status, 2);
  assert.match(stderr, /layer 1 of oci:.* is not that of oci:.*app: .* or --base IMAGE/);
});

test('a directory that the base defines with a mark only is what it is there', async () => {
  const mark = new Map([['trusted.overlay.dirmeta_delegate', Buffer.from('y')]]);
  const marked = { tar: layer({ 'd/': { mode: 0o700, xattrs: mark }, 'd/a': 'a' }) };
  const { ref } = await layout({
    base: { layers: [marked] },
    app: { layers: [marked, { tar: layer({ 'd/b': 'b' }) }] },
  });
  const policy = ['--parents', 'delegate', '--delegate-fallback', 'neutral', '--skeleton', 'first'];
  await build(ref('app'), 'marked', '--base', ref('base'), ...policy);
  assert.ok(await isEqual(ref('app'), out('marked')));
});

test('every image of an index has the base for its platform', async () => {
  const of = (architecture: string): ImageInput['layers'] => [
    { tar: layer({ 'etc/': {}, 'etc/arch': architecture }) },
  ];
  const images = Object.fromEntries(
    ['amd64', 'arm64'].flatMap((architecture) => {
      const fields = { architecture };
      return [
        [`base-${architecture}`, { layers: of(architecture), fields }],
        [`app-${architecture}`, { layers: [...of(architecture), { tar: ABOVE }], fields }],
      ];
    }),
  );
  const { path, built } = await layout(images);
  const indexOf = (from: number): object => {
    const manifests = [from, from + 2].map((i) => built[i]?.manifest);
    const bytes = JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests });
    const digest = digestOf(bytes);
    writeFileSync(join(path, 'blobs/sha256', digest.slice(7)), bytes);
    const name = { 'org.opencontainers.image.ref.name': from === 0 ? 'base' : 'app' };
    return { mediaType: MEDIA.index, digest, size: bytes.length, annotations: name };
  };
  const root = { schemaVersion: 2, manifests: [indexOf(0), indexOf(1)] };
  writeFileSync(join(path, 'index.json'), JSON.stringify(root));
  const result = await build(
    `oci:${path}:app`,
    'all',
    '--all-platforms',
    '--base',
    `oci:${path}:base`,
  );
  assert.deepEqual(
    result.images.map(({ layers }) => layers[0]?.digest),
    [built[0]?.layers[0]?.digest, built[2]?.layers[0]?.digest],
  );
});

const refused: readonly (readonly [string, readonly string[], RegExp])[] = [
  [
    'annotations that name no base',
    [pair.ref('app'), out('no'), '--base', 'annotated'],
    /has no annotation org\.opencontainers\.image\.base\.name, want --base IMAGE/,
  ],
  [
    'a directory tree for a base',
    [pair.ref('app'), out('no'), '--base', `rootfs:${directory}`],
    /got a directory tree, want an image/,
  ],
  [
    'a base that leaves no room',
    [pair.ref('app'), out('no'), ...onBase, '--max-layers', '2'],
    /--max-layers 2: want at least 3, since the base and its whiteouts are 2/,
  ],
  [
    'a base and whiteouts that leave no room',
    [pair.ref('app'), out('no'), ...onBase, '--max-layers', '3', '--prune', '/etc/gone'],
    /--max-layers 3: want at least 4/,
  ],
  [
    'a destination that cannot hold the base’s layers',
    [pair.ref('app'), `docker-archive:${join(directory, 'no.tar')}`, ...onBase],
    /got layers compressed by gzip, docker-archive:.* holds only none/,
  ],
  [
    'variants together over a base',
    ['--together', pair.ref('app'), pair.ref('base'), '--to', out(''), ...onBase],
    /--together and --base: want one of them/,
  ],
];
for (const [name, args, message] of refused) {
  test(`refuses ${name}`, async () => {
    const { status, stderr } = await runHere(['build', ...args]);
    assert.match(stderr, message);
    assert.equal(status, 2);
  });
}

test.run();
