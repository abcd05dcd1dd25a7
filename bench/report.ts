/**
 * The index of files at scale: synthetic layers through the real writer, then every query of a report, each in a process of its own.
 *
 * `node bench/report.ts [--rows N] [--layers N] [--directory DIR] [--keep] [--memory MIB] [--queries-only]`; `--memory` is what each process
 * may take, and what `report index --memory-limit` is given.
 *
 * The layers are shaped like those of Docker Hub (Zhao et al., CLUSTER 2019): 3 % of the files are distinct, a few are in very many
 * layers and most in few, and a file mostly has the same path wherever it is.
 */
import { execFile } from 'node:child_process';
import { globSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { type Digest, digestOf, MEDIA } from '../registry/oci.ts';
import type { Path } from '../registry/path.ts';
import { Engine } from '../registry/report/index/engine.ts';
import { isInShard } from '../registry/report/index/index.ts';
import { queryMemory, shareMemory } from '../registry/report/index/memory.ts';
import { IndexReader } from '../registry/report/index/reader.ts';
import { LayerRows, type RowEntry } from '../registry/report/index/rows.ts';
import { type IndexedTag, writeSnapshot } from '../registry/report/index/snapshot.ts';
import { sqlTexts } from '../registry/report/index/sql.ts';
import { IndexWriter, PARTS } from '../registry/report/index/writer.ts';

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '20000000' },
    layers: { type: 'string', default: '7000' },
    directory: { type: 'string', default: '/var/tmp/rechunk-bench-report' },
    memory: { type: 'string', default: '2048' },
    keep: { type: 'boolean' },
    'queries-only': { type: 'boolean' },
    share: { type: 'string' },
    query: { type: 'string' },
  },
});
const limit = Number(values.memory) * 2 ** 20;
const [rows, layers] = [Number(values.rows), Number(values.layers)];
/** Processes that write, one for each core; nobody coordinates them. */
const SHARES = 2;
const IMAGES = 50;
const IMAGE_LAYERS = 20;
/** Of all files, distinct. */
const DISTINCT = 0.032;

/** xorshift128+, 32 bits at a time. */
function random(seed: number): () => number {
  let [a, b, c, d] = [seed | 1, 0x9e3779b9, 0x243f6a88, 0xb7e15162];
  return () => {
    const t = b << 9;
    let r = Math.imul(b, 5);
    r = Math.imul((r << 7) | (r >>> 25), 9);
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = (d << 11) | (d >>> 21);
    return r >>> 0;
  };
}

function mix(n: number, salt: number): number {
  let h = Math.imul((n + 0x9e3779b9) ^ Math.imul(salt, 0x27d4eb2f), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 13), 0x165667b1);
  return (h ^ (h >>> 16)) >>> 0;
}

const digest = Buffer.alloc(32);
const words = new Uint32Array(digest.buffer, digest.byteOffset, 8);
function digestOfFile(file: number): Buffer {
  for (let i = 0; i < 8; i++) words[i] = mix(file, 0x1234567 * (i + 1));
  return digest;
}

const COMMON = {
  ...{ uid: 0, gid: 0, nanoseconds: 0, link: '', devMajor: 0, devMinor: 0 },
  xattrs: new Map<string, Uint8Array>(),
};

function directoryEntry(path: string): RowEntry {
  return {
    ...COMMON,
    type: 'dir',
    path: path as Path,
    mode: 0o755,
    size: 0,
    seconds: 1_600_000_000,
  };
}

/** A layer of some `count` rows whose files are of `files` there are. */
function layerRows(number: number, count: number, files: number): LayerRows {
  const next = random(number * 7919 + 1);
  const made = new LayerRows();
  const seen = new Set<number>();
  const packages = new Set<number>();
  for (const path of ['srv', 'usr', 'usr/lib']) made.add(directoryEntry(path));
  while (made.length < count) {
    // Popularity by a power: most references go to few files.
    const file = Math.floor(files * (next() / 2 ** 32) ** 3);
    const directory = `usr/lib/package-${file >>> 7}`;
    const isThere = seen.has(file);
    if (!isThere && !packages.has(file >>> 7)) {
      packages.add(file >>> 7);
      made.add(directoryEntry(directory));
    }
    seen.add(file);
    const path = isThere ? `srv/copy-${made.length}` : `${directory}/module-${file}.so`;
    const entry: RowEntry = {
      ...COMMON,
      type: 'file',
      path: path as Path,
      mode: 0o644,
      size: (1 << (mix(file, 5) % 20)) + (mix(file, 6) % 1000),
      seconds: 1_600_000_000 + (mix(file, 7) % 100_000_000),
    };
    made.add(entry, digestOfFile(file));
  }
  made.finish();
  return made;
}

function diskBytes(directory: string): Record<string, number> {
  const sizes: Record<string, number> = {};
  for (const file of globSync(`${PARTS}/*/**/*.parquet`, { cwd: directory })) {
    const table = file.split('/')[2] as string;
    sizes[table] = (sizes[table] ?? 0) + statSync(join(directory, file)).size;
  }
  return sizes;
}

function diffIdOf(number: number): Digest {
  const words = Array.from({ length: 8 }, (_, i) => mix(number, i * 77 + 13));
  return `sha256:${words.map((word) => word.toString(16).padStart(8, '0')).join('')}`;
}

/** Writes one share, as one process of `rechunk report index` does. */
async function write(directory: string, share: number): Promise<void> {
  const { engine: memory, partEntries, keptDigests } = shareMemory(limit);
  const engine = await start(directory, `spill-${share}`, memory);
  const shard = { number: share, count: SHARES };
  const writer = await IndexWriter.open(engine, {
    ...{ directory, partEntries, keptDigests },
    shard: `${share}-of-${SHARES}`,
  });
  const files = Math.ceil(rows * DISTINCT);
  for (let number = 0; number < layers; number++) {
    if (!isInShard(diffIdOf(number), shard)) continue;
    // Layers vary: a quarter to seven quarters of the mean.
    const count = Math.round((rows / layers) * (0.25 + (1.5 * mix(number, 3)) / 2 ** 32));
    const layer = layerRows(number, count, files);
    const diffId = diffIdOf(number);
    await writer.add({
      diffId,
      rows: layer,
      origin: 'tar',
      uncompressed: 1,
      bytesRead: 0,
      blob: diffId,
    });
  }
  await writer.flush();
  await writer.close();
  engine.close();
}

function start(directory: string, spill: string, memory: number): Promise<Engine> {
  const threads = values.share === undefined ? 2 : 1;
  return Engine.start({ tempDirectory: join(directory, spill), threads, memory });
}

/** Images over the layers, so that queries of updates have something to do: neighbours share all but a few layers. */
function imageTags(): IndexedTag[] {
  return Array.from({ length: IMAGES }, (_, image): IndexedTag => {
    const own = Array.from({ length: IMAGE_LAYERS }, (_, i) => {
      const number = i < IMAGE_LAYERS - 3 ? i : IMAGE_LAYERS + 3 * image + i;
      // From anywhere in the index, so that no part of it can be passed over.
      const diffId = diffIdOf(mix(number, 99) % layers);
      return { diffId, descriptor: { mediaType: MEDIA.layer, digest: diffId, size: 1 << 20 } };
    });
    const digest = digestOf(`image ${image}`);
    return {
      ...{ repository: `repository-${image % 10}`, tag: `${image}` },
      images: [{ digest, platform: 'linux/amd64', layers: own }],
    };
  });
}

/** This process's peak, MiB. */
function peak(): number {
  return Math.round(process.resourceUsage().maxRSS / 1024);
}

/** Runs one query; prints its rows, seconds and the peak. */
async function query(directory: string, name: string): Promise<void> {
  const engine = await start(directory, `spill-${name}`, queryMemory(limit));
  const before = performance.now();
  const reader = await IndexReader.open(engine, directory);
  const [from = '', to = ''] = imageTags().map(({ images }) => images[0]?.digest as string);
  const found = await reader.query(name, { limit: 20, places: 5, from, to, image: from });
  const seconds = (performance.now() - before) / 1000;
  console.log(`| ${name} | ${found.length} | ${seconds.toFixed(2)} | ${peak()} |`);
  engine.close();
}

async function describeIndex(directory: string): Promise<void> {
  const engine = await start(directory, 'spill', queryMemory(limit));
  await writeSnapshot(engine, directory, ['bench'], imageTags());
  const reader = await IndexReader.open(engine, directory);
  const [counted] = await reader.sql('SELECT count(*) AS n FROM entries');
  engine.close();
  const total = Number(counted?.['n']);
  console.log(`${total} rows of entries`);
  for (const [table, size] of Object.entries(diskBytes(directory)))
    console.log(`${table}: ${size} bytes, ${(size / total).toFixed(2)} a row of entries`);
}

/** Runs this program once more; gives what it prints. */
async function again(...words: string[]): Promise<string> {
  const args = [import.meta.filename, ...process.argv.slice(2), ...words];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return stdout;
}

const { directory } = values;
if (values.share !== undefined) {
  await write(directory, Number(values.share));
  console.log(`share ${values.share}: at most ${peak()} MiB`);
} else if (values.query !== undefined) {
  await query(directory, values.query);
} else {
  if (!values['queries-only']) {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    const started = performance.now();
    const shares = Array.from({ length: SHARES }, (_, share) => again('--share', `${share}`));
    const said = await Promise.all(shares);
    const seconds = (performance.now() - started) / 1000;
    console.log(
      `written in ${seconds.toFixed(1)} s, some ${Math.round(rows / seconds)} rows/s\n${said.join('')}`,
    );
  }
  await describeIndex(directory);
  console.log('| query | rows | s | peak MiB |\n|---|---|---|---|');
  for (const name of Object.keys(sqlTexts().queries))
    process.stdout.write(await again('--query', name));
  if (!values.keep) rmSync(directory, { recursive: true });
}
