// needs: root, mmdebstrap, zstd
/** The parts of the format, compared with what skopeo of Debian 13 makes of the same archives. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp } from 'node:fs/promises';
import { test } from 'uvu';
import { tarOf, writeLayout } from '../../test-images/build.ts';
import { command } from '../../test-images/command.ts';
import { dir, file, link, type Member, packLayer, symlink } from '../../test-images/member.ts';
import { openSandbox } from '../../test-images/runtimes/sandbox.ts';
import { suiteRoot } from '../../test-images/runtimes/suite.ts';
import type { Annotations } from '../oci.ts';
import { digestOf } from '../oci.ts';
import { packTar } from '../tarwriter.ts';
import { Crc64 } from './crc64.ts';
import { parseChunkedAnnotations, type Section } from './footer.ts';
import { TarSplitWriter } from './tarsplit.ts';
import { parseToc, type Toc } from './toc.ts';
import { type ChunkedResult, createChunkedCompressor } from './writer.ts';

const PIECE = 1 << 20;
const root = await suiteRoot('trixie');
const sandbox = await openSandbox(await mkdtemp('/var/tmp/rt-'), { root });
const at = sandbox.dir;
let layouts = 0;

interface Blob {
  readonly path: string;
  readonly annotations: Annotations;
}

/** The layer that skopeo makes of an archive. */
async function skopeoLayer(tar: string): Promise<Blob> {
  const [from, to] = [`${at}/in${layouts}`, `${at}/out${layouts++}`];
  await writeLayout(from, [{ layers: [{ tar, compression: 'none' }] }]);
  const copy = ['copy', '-q', '--insecure-policy', '--dest-compress-format=zstd:chunked'];
  await sandbox.run('skopeo', [...copy, `oci:${from}:latest`, `oci:${to}:latest`]);
  const blob = (digest: string): string => `${to}/blobs/${digest.replace(':', '/')}`;
  const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
  const [{ digest }] = json(`${to}/index.json`).manifests;
  const [layer] = json(blob(digest)).layers;
  return { path: blob(layer.digest), annotations: layer.annotations };
}

/** The layer that we make of it. */
async function ownLayer(tar: string): Promise<{ path: string; result: ChunkedResult }> {
  const path = `${at}/own${layouts++}`;
  const [from, to] = [openSync(tar, 'r'), openSync(path, 'w')];
  const compressor = createChunkedCompressor(undefined, {
    inFlight: 2,
    write: (bytes) => writeFileSync(to, bytes),
  });
  const buffer = Buffer.alloc(PIECE);
  for (let size = readSync(from, buffer); size > 0; size = readSync(from, buffer)) {
    await compressor.push(buffer.subarray(0, size));
  }
  await compressor.finish();
  closeSync(from);
  closeSync(to);
  return { path, result: compressor.result() };
}

interface Contents {
  readonly toc: Toc;
  readonly tarSplit: readonly unknown[];
}

async function contentsOf({ path, annotations }: Blob): Promise<Contents> {
  const blob = readFileSync(path);
  const sections = parseChunkedAnnotations(annotations, blob.length);
  assert.ok(sections);
  const bytes = ({ offset, compressedSize }: Section): Buffer =>
    blob.subarray(offset, offset + compressedSize);
  const read = async (section: Section): Promise<Buffer> => {
    const plain = await command('zstd', ['-dc'], { input: bytes(section) });
    assert.equal(plain.length, section.size);
    return plain;
  };
  assert.equal(digestOf(bytes(sections.toc)), sections.tocDigest);
  const json = await read(sections.toc);
  const toc = parseToc(json);
  // What is parsed leaves out nothing.
  assert.deepEqual(toc, JSON.parse(json.toString()));
  assert.equal(digestOf(bytes(sections.tarSplit)), toc.tarSplitDigest);
  const lines = (await read(sections.tarSplit)).toString().trimEnd().split('\n');
  return { toc, tarSplit: lines.map((line) => JSON.parse(line)) };
}

/** The entries without where they lie, which depends on the compressor. */
function placeless({ entries }: Toc): unknown[] {
  return entries.map(({ offset, endOffset, ...entry }) => ({
    ...entry,
    isStored: offset !== undefined,
    isWhole: endOffset !== undefined,
  }));
}

function sameBytes(blob: string, tar: string): void {
  execFileSync('sh', ['-c', 'zstd -dc "$1" | cmp - "$2"', 'sh', blob, tar]);
}

/** Both make the same of the archive. */
async function compare(tar: string): Promise<Contents> {
  const own = await ownLayer(tar);
  sameBytes(own.path, tar);
  assert.ok('annotations' in own.result, JSON.stringify(own.result));
  const mine = await contentsOf({ path: own.path, annotations: own.result.annotations });
  const theirs = await contentsOf(await skopeoLayer(tar));
  assert.deepEqual(placeless(mine.toc), placeless(theirs.toc));
  assert.deepEqual(mine.tarSplit, theirs.tarSplit);
  return mine;
}

async function archive(
  name: string,
  members: readonly Member[],
  format: 'pax' | 'gnu' | 'ustar' = 'pax',
): Promise<string> {
  const path = `${at}/${name}.tar`;
  writeFileSync(path, await packLayer({ members, format }));
  return path;
}

const XATTRS = {
  'security.capability': '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0',
  'user.text': 'a "value"\n<&>',
  'user.empty': '',
};

function metadata(): Member[] {
  const utf8 = Buffer.from('ü <&> "q" \u2028.txt').toString('latin1');
  return [
    dir('./', { mode: 0o1777, uid: 7, gid: 8 }),
    dir('./d/', { mtime: '1600000000.123456789' }),
    file('./d/a', 'content', { mode: 0o4755, uid: 3_000_000, gid: 4_294_967_294 }),
    file('./d/empty', ''),
    file(`./d/${utf8}`, 'x', { mtime: '0' }),
    file('./d/before', 'x', { mtime: '-1.5' }),
    file('./d/late', 'x', { mtime: '8589934592.1' }),
    file('./d/xattrs', 'x'.repeat(512), { xattrs: XATTRS }),
    file(`./d/${'long'.repeat(40)}`, 'x'.repeat(513)),
    symlink('./d/symlink', `../${'target/'.repeat(30)}`),
    link('./d/link', './d/a'),
    file('./d/.wh.gone', ''),
    file('./d/.wh..wh..opq', ''),
    dir('./e/'),
  ];
}

/** Whether formats without records can hold it. */
function fits({ path, target = '', mtime, xattrs, uid }: Member, format: 'gnu' | 'ustar'): boolean {
  if (xattrs || mtime.startsWith('-') || mtime.startsWith('8')) return false;
  return format === 'gnu' || (path.length <= 100 && target.length <= 100 && uid < 2_000_000);
}

for (const format of ['pax', 'gnu', 'ustar'] as const) {
  test(`tells the metadata of an archive in ${format} format as skopeo does`, async () => {
    const whole = metadata().map((member) => ({
      ...member,
      mtime: member.mtime.split('.')[0] ?? '',
    }));
    const members = format === 'pax' ? metadata() : whole.filter((member) => fits(member, format));
    const { toc } = await compare(await archive(format, members, format));
    assert.equal(toc.entries.length, members.length);
  });
}

test('tells the archives that are written here as skopeo does', async () => {
  const bytes = packTar([
    { path: 'd/' },
    { path: 'd/a', content: Buffer.from('x') },
    { path: 'd/b', content: Buffer.alloc(512) },
  ]);
  const path = `${at}/own.tar`;
  writeFileSync(path, bytes);
  const { tarSplit } = await compare(path);
  assert.equal(tarSplit.length, 7);
});

test('tells names that are no UTF-8 in the tar-split section as skopeo does', async () => {
  const bytes = packTar([{ path: 'caf\xe9', content: 'x' }]);
  const tar = `${at}/latin1.tar`;
  writeFileSync(tar, bytes);
  const lines: string[] = [];
  const writer = new TarSplitWriter((line) => lines.push(line));
  const content = bytes.length - 3 * 512;
  writer.literal(bytes.subarray(0, content));
  const crc = new Crc64();
  crc.update(Buffer.from('x'));
  writer.file({ name: 'caf\xe9', size: 1 }, crc.digest());
  writer.literal(bytes.subarray(content + 1));
  writer.tail();
  writer.finish();
  const { tarSplit } = await contentsOf(await skopeoLayer(tar));
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)),
    tarSplit,
  );
  assert.match(lines.join(), /name_raw/);
});

/** Programs and scripts; larger ones, of which there are few, only take time. */
const MOST_SIZE = process.env['RECHUNK_TEST_ALL_OF_BIN'] ? '-99M' : '-3000k';

test('cuts the files of /usr/bin as skopeo does', async () => {
  const bin = `${at}/bin`;
  await mkdir(bin);
  const find = ['-maxdepth', '1', '-type', 'f', '-size', MOST_SIZE];
  await command('find', [`${root}/usr/bin`, ...find, '-exec', 'cp', '-al', '-t', bin, '{}', '+']);
  const { toc } = await compare(await tarOf(bin, `${at}/bin.tar`));
  assert.ok(toc.entries.filter(({ type }) => type === 'chunk').length > 100);
});

/** Bytes that repeat after `period`, with holes and with runs of zeros that are none. */
function holes(): readonly Member[] {
  const zeros = (count: number): string => '\0'.repeat(count);
  const text = (count: number, seed: number): string => {
    let x = seed;
    return Array.from({ length: count }, () => {
      x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff;
      return String.fromCharCode((x >>> 16) & 0xff);
    }).join('');
  };
  const within = Array.from({ length: 40 }, (_, i) => text(64, i) + zeros(1000 + i)).join('');
  return [
    file('all', zeros(70_000)),
    file('at-the-ends', zeros(1024) + text(90_000, 1) + zeros(1024)),
    file('short-at-the-ends', zeros(1023) + text(90_000, 2) + zeros(1023)),
    file('adjacent', `${text(10, 3)}${zeros(5000)}x${zeros(5000)}y${zeros(1023)}`),
    file('many', within),
    // The sum says that a chunk ends within the zeros.
    ...SPLIT_SEEDS.flatMap((seed) => [
      file(`split-${seed}`, text(64, seed) + zeros(1023) + text(100, seed)),
      file(`hole-${seed}`, text(64, seed) + zeros(1024) + text(100, seed)),
      file(`end-${seed}`, text(64, seed) + zeros(200)),
    ]),
    file('repeated', 'abc'.repeat(300_000)),
  ];
}

const SPLIT_SEEDS = [924, 2679, 3060, 3822];

test('cuts files with holes as skopeo does', async () => {
  const { toc } = await compare(await archive('holes', holes()));
  const chunks = (name: string) => toc.entries.filter((entry) => entry.name === name).length;
  assert.equal(toc.entries.filter(({ chunkType }) => chunkType === 'zeros').length > 10, true);
  assert.equal(chunks('split-924'), 2);
  assert.equal(chunks('hole-924'), 3);
});

test.after(() => sandbox.close());
test.run();
