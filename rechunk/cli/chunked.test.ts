/** `--compression zstd:chunked` on layouts: which layers can be pulled in part, what is taken from earlier images and what is not. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { test } from 'uvu';
import { watchIndex } from '../../registry/chunked/check.ts';
import {
  CHUNKED_ANNOTATION,
  chunkedAnnotations,
  encodeFooter,
  parseChunkedAnnotations,
  type Section,
  skippableHeader,
} from '../../registry/chunked/footer.ts';
import { packTar, type TarItem } from '../../registry/tarwriter.ts';
import { writeLayout } from '../../test-images/build.ts';
import { jsonHere, runHere } from '../../test-images/cli.ts';
import { noise } from '../../test-images/sample.ts';
import type { BuildResult } from '../rechunk.ts';

const directory = mkdtempSync(join(tmpdir(), 'rechunk-chunked-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const made = join(directory, 'made');
const map = join(directory, 'map');
writeFileSync(map, '/a/ a\n/b/ b\n/c/ c\n');
const SIZE = 300_000;
const ITEMS: readonly TarItem[] = [
  { path: 'a/' },
  { path: 'a/large', content: noise(SIZE, 'a') },
  { path: 'b/', mode: 0o700 },
  { path: 'b/large', content: noise(SIZE, 'b') },
  { path: 'b/link', type: 'link', link: 'b/large', mode: 0o644 },
  { path: 'c/' },
  { path: 'c/large', content: noise(SIZE, 'c') },
];
const PIPE: TarItem = { path: 'c/pipe', type: 'fifo' };
await writeLayout(join(directory, 'plain'), [{ layers: [{ tar: packTar(ITEMS) }] }]);
await writeLayout(join(directory, 'piped'), [{ layers: [{ tar: packTar([...ITEMS, PIPE]) }] }]);

interface Layer {
  readonly digest: string;
  readonly size: number;
  annotations: Record<string, string>;
}

interface Manifest {
  readonly layers: Layer[];
}

const blobPath = (dir: string, digest: string): string =>
  join(dir, 'blobs', digest.replace(':', '/'));

function manifestOf(digest: string, dir = made): Manifest {
  return JSON.parse(readFileSync(blobPath(dir, digest), 'utf8'));
}

interface Built extends Manifest {
  readonly result: BuildResult;
  readonly stderr: string;
}

async function build(source: string, to: string, ...options: string[]): Promise<Built> {
  const args = ['build', `oci:${join(directory, source)}`, to, '--map', map, ...options];
  const { status, stdout, stderr } = await runHere([...args, '--json']);
  assert.equal(status, 0, stderr);
  const result = JSON.parse(stdout) as BuildResult;
  const [, dir = made] = /^oci:([^:]*)/.exec(to) ?? [];
  return { result, stderr, layers: manifestOf(result.digest, dir).layers };
}

const CHUNKED = ['--compression', 'zstd:chunked'];

/** Names in the tables of contents that the layers' annotations lead to, where they are right. */
async function listed(layers: readonly Layer[], dir = made): Promise<(string[] | undefined)[]> {
  return Promise.all(
    layers.map(async ({ digest, size, annotations }) => {
      const sections = parseChunkedAnnotations(annotations, size);
      if (!sections) return undefined;
      const file = { path: blobPath(dir, digest), offset: 0, size };
      const watched = watchIndex({ file, stream: () => assert.fail() }, size, sections);
      return (await watched.check())?.entries.map(({ name }) => name);
    }),
  );
}

const digests = (layers: readonly Layer[]): string[] => layers.map(({ digest }) => digest);
const known = ({ result }: Built): boolean[] =>
  result.images[0]?.layers.map((layer) => layer.known) ?? [];

test('layers say where their tables of contents lie', async () => {
  const { layers, result } = await build('plain', `oci:${made}:first`, ...CHUNKED, '--verify');
  const names = await listed(layers);
  assert.deepEqual(
    [...new Set(names.flat())].filter((name) => name?.includes('large')),
    ['a/large', 'b/large', 'c/large'],
  );
  assert.ok(names.flat().includes('b/link'));
  assert.deepEqual(result.images[0]?.partialPulls, { layers: layers.length });
  assert.equal(result.images[0]?.compression, 'zstd:chunked');
});

test('an image built again is the same, and nothing is compressed', async () => {
  const first = await build('piped', `oci:${made}:again`, ...CHUNKED);
  const again = await build('piped', `oci:${made}:again`, ...CHUNKED);
  assert.equal(again.result.digest, first.result.digest);
  assert.ok(known(again).every(Boolean));
});

test('a layer that cannot be pulled in part is plain zstd, and one note says why', async () => {
  const { layers, stderr, result } = await build('piped', `oci:${made}:piped`, ...CHUNKED);
  const names = await listed(layers);
  assert.equal(names.filter((one) => one === undefined).length, 1);
  const found = stderr.match(/note: .*partial pulls.*/g) ?? [];
  assert.equal(found.length, 1);
  assert.match(
    found[0] as string,
    /1 of 3 layers is plain.*devices or fifos.*"c\/pipe": it is a fifo/,
  );
  const [obstacle] = result.images[0]?.layers.flatMap((layer) => layer.obstacle ?? []) ?? [];
  assert.equal(obstacle?.kind, 'device');
});

test('plain layers of an earlier image are compressed anew for zstd:chunked', async () => {
  const plain = await build('plain', `oci:${made}:plain`);
  const chunked = await build(
    'plain',
    `oci:${made}:chunked`,
    ...CHUNKED,
    '--previous',
    `oci:${made}:plain`,
  );
  assert.deepEqual(known(chunked), [false, false, false]);
  assert.ok((await listed(chunked.layers)).every(Boolean));
  assert.notDeepEqual(digests(chunked.layers), digests(plain.layers));
});

test('chunked layers of an earlier image serve for zstd, without their annotations', async () => {
  const chunked = await build('plain', `oci:${made}:one`, ...CHUNKED);
  const plain = await build('plain', `oci:${made}:two`, '--previous', `oci:${made}:one`);
  assert.deepEqual(digests(plain.layers), digests(chunked.layers));
  assert.deepEqual(await listed(plain.layers), [undefined, undefined, undefined]);
  for (const { annotations } of plain.layers)
    assert.deepEqual(Object.keys(annotations), ['dev.rechunk.components']);
});

for (const parents of [['shared'], ['implicit'], ['delegate']]) {
  test(`--parents ${parents} is told to allow no partial pulls, and layers are those of zstd`, async () => {
    const options = ['--parents', ...parents];
    const name = parents.join('');
    const chunked = await build('plain', `oci:${made}:${name}1`, ...CHUNKED, ...options);
    const plain = await build('plain', `oci:${made}:${name}2`, ...options);
    assert.deepEqual(digests(chunked.layers), digests(plain.layers));
    assert.match(
      chunked.stderr,
      /note: layers are plain zstd, none can be pulled in part: --parents/,
    );
    assert.equal(chunked.result.images[0]?.partialPulls?.layers, 0);
    assert.equal(chunked.result.images[0]?.compression, 'zstd');
  });
}

test('directories that are marked with user attributes are no obstacle', async () => {
  const options = ['--parents', 'delegate', '--delegate-xattr', 'user'];
  const { layers } = await build('plain', `oci:${made}:user`, ...CHUNKED, ...options);
  assert.ok((await listed(layers)).every(Boolean));
});

test('what cannot hold zstd is an error', async () => {
  const to = `docker-archive:${join(directory, 'x.tar')}`;
  const { status, stderr } = await runHere([
    'build',
    `oci:${join(directory, 'plain')}`,
    to,
    ...CHUNKED,
  ]);
  assert.equal(status, 2);
  assert.match(stderr, /--compression zstd:chunked: docker-archive:.* holds only none/);
});

/** A copy of the layout `made` whose image `tag` has layers as `edit` leaves them. */
function forge(tag: string, edit: (layers: Layer[], dir: string) => void): string {
  const dir = mkdtempSync(join(directory, 'forged-'));
  cpSync(made, dir, { recursive: true });
  const path = join(dir, 'index.json');
  const index = JSON.parse(readFileSync(path, 'utf8'));
  const name = 'org.opencontainers.image.ref.name';
  const entry = index.manifests.find(
    (one: { annotations: Record<string, string> }) => one.annotations[name] === tag,
  );
  const manifest = manifestOf(entry.digest, dir);
  edit(manifest.layers, dir);
  const bytes = Buffer.from(JSON.stringify(manifest));
  entry.digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  entry.size = bytes.length;
  writeFileSync(blobPath(dir, entry.digest), bytes);
  writeFileSync(path, JSON.stringify(index));
  return `oci:${dir}:${tag}`;
}

test('annotations that lead out of the blob, or are of another one, are not handed on', async () => {
  const { layers: right } = await build('plain', `oci:${made}:right`, ...CHUNKED);
  const of = (layer: Layer | undefined): Record<string, string> => layer?.annotations ?? {};
  const forged = forge('right', (layers) => {
    const [first, second, third] = layers as [Layer, Layer, Layer];
    const place = of(first)[CHUNKED_ANNOTATION.tocPosition] as string;
    first.annotations[CHUNKED_ANNOTATION.tocPosition] = `1${place}`;
    // Within the blob, and of another one.
    second.annotations[CHUNKED_ANNOTATION.tocDigest] = of(right[2])[
      CHUNKED_ANNOTATION.tocDigest
    ] as string;
    third.annotations['containerd.io/snapshot/stargz/toc.digest'] = `sha256:${'0'.repeat(64)}`;
  });
  const to = `oci:${join(directory, 'clean')}:x`;
  const { layers, stderr, ...built } = await build('plain', to, ...CHUNKED, '--previous', forged);
  assert.deepEqual(layers, right);
  assert.deepEqual(known({ layers, stderr, ...built }), [false, false, true]);
  assert.match(
    stderr,
    /note: reading sha256:.* of oci:.*: its table of contents has digest .*: it is made anew/,
  );
});

/** A section's bytes, and how many they are when decompressed. */
type Text = Pick<Section, 'size'> & { readonly bytes: Buffer };

/** What a layer has after its tar. */
function sectionsOf(
  dir: string,
  { digest, size, annotations }: Layer,
): [toc: Text, tarSplit: Text] {
  const blob = readFileSync(blobPath(dir, digest));
  const said = parseChunkedAnnotations(annotations, size);
  assert.ok(said);
  const read = ({ offset, compressedSize, size }: Section): Text => {
    return { bytes: blob.subarray(offset, offset + compressedSize), size };
  };
  return [read(said.toc), read(said.tarSplit)];
}

const sha256 = (bytes: Buffer): `sha256:${string}` =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** The blob of a layer with other sections, as sound as any. */
function graft(dir: string, layer: Layer, [toc, tarSplit]: [toc: Text, tarSplit: Text]): Layer {
  const own = parseChunkedAnnotations(layer.annotations, layer.size);
  assert.ok(own);
  const blob = readFileSync(blobPath(dir, layer.digest));
  const parts: Buffer[] = [blob.subarray(0, own.toc.offset - skippableHeader(0).length)];
  const put = ({ bytes, size }: Text): Section => {
    parts.push(skippableHeader(bytes.length));
    const offset = Buffer.concat(parts).length;
    parts.push(bytes);
    return { offset, compressedSize: bytes.length, size };
  };
  const sections = { tocDigest: sha256(toc.bytes), toc: put(toc), tarSplit: put(tarSplit) };
  const bytes = Buffer.concat([...parts, encodeFooter(sections)]);
  const digest = sha256(bytes);
  writeFileSync(blobPath(dir, digest), bytes);
  const annotations = { ...layer.annotations, ...chunkedAnnotations(sections) };
  return { ...layer, digest, size: bytes.length, annotations };
}

const forgeries: readonly (readonly [string, (layers: Layer[], dir: string) => void, RegExp])[] = [
  [
    'annotations of another layer',
    ([first, second]) => {
      const { tocDigest } = CHUNKED_ANNOTATION;
      assert.ok(first && second);
      first.annotations[tocDigest] = second.annotations[tocDigest] as string;
    },
    /its table of contents has digest/,
  ],
  [
    'a table of contents of another layer',
    (layers, dir) => {
      layers[0] = graft(dir, layers[0] as Layer, sectionsOf(dir, layers[1] as Layer));
    },
    /table of contents: content is b.*, want a/,
  ],
  [
    'a set-uid bit that only the table of contents has',
    (layers, dir) => {
      const [toc, tarSplit] = sectionsOf(dir, layers[0] as Layer);
      const told = zstdDecompressSync(toc.bytes).toString();
      const text = Buffer.from(told.replace(/("name":"a\/large","mode":)\d+/, `$1${0o4755}`));
      assert.notEqual(text.toString(), told);
      const lie = { bytes: zstdCompressSync(text), size: text.length };
      layers[0] = graft(dir, layers[0] as Layer, [lie, tarSplit]);
    },
    /entry 2 of a table of contents: mode is 4755, want 644 \(a\/large\)/,
  ],
];

for (const [name, edit, wanted] of forgeries) {
  test(`--verify finds ${name} in what is there already`, async () => {
    await build('plain', `oci:${made}:there`, ...CHUNKED);
    const forged = forge('there', edit);
    const to = forged.replace(/there$/, 'checked');
    const args = ['build', `oci:${join(directory, 'plain')}`, to, '--map', map, ...CHUNKED];
    const { status, stderr } = await runHere([...args, '--previous', forged, '--verify']);
    assert.equal(status, 2, stderr);
    assert.match(stderr, wanted);
  });
}

test('together, variants share chunked layers', async () => {
  const to = join(directory, 'variants');
  const sources = ['plain', 'piped'].map((name) => `oci:${join(directory, name)}:latest`);
  // The results need names of their own.
  cpSync(join(directory, 'plain'), join(directory, 'named'), { recursive: true });
  const path = join(directory, 'named', 'index.json');
  writeFileSync(path, readFileSync(path, 'utf8').replaceAll('"latest"', '"other"'));
  const args = [
    'build',
    '--together',
    sources[1] as string,
    `oci:${join(directory, 'named')}:other`,
  ];
  const { results } = await jsonHere<{ results: BuildResult[] }>([
    ...args,
    '--to',
    `oci:${to}:`,
    '--map',
    map,
    ...CHUNKED,
  ]);
  const [piped, plain] = results.map(({ digest }) => manifestOf(digest, to).layers) as [
    Layer[],
    Layer[],
  ];
  const names = await listed(plain, to);
  assert.ok(names.every(Boolean));
  const annotations = new Map(piped.map((layer) => [layer.digest, layer.annotations]));
  const shared = plain.filter(({ digest }) => annotations.has(digest));
  assert.ok(shared.length > 0);
  for (const layer of shared) assert.deepEqual(layer.annotations, annotations.get(layer.digest));
});

test.run();
