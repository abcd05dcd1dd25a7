/**
 * The index of files at scale: synthetic layers through the real writer, then every query of a report.
 *
 * `node bench/report.ts [--rows N] [--layers N] [--directory DIR] [--keep] [--memory MIB] [--queries-only]`
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
import { IndexReader } from '../registry/report/index/reader.ts';
import { LayerRows, type RowEntry } from '../registry/report/index/rows.ts';
import { type IndexedTag, writeSnapshot } from '../registry/report/index/snapshot.ts';
import { sqlTexts } from '../registry/report/index/sql.ts';
import { IndexWriter } from '../registry/report/index/writer.ts';

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '20000000' },
    layers: { type: 'string', default: '7000' },
    directory: { type: 'string', default: '/var/tmp/rechunk-bench-report' },
    memory: { type: 'string', default: '2048' },
    keep: { type: 'boolean' },
    'queries-only': { type: 'boolean' },
    share: { type: 'string' },
  },
});
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
  const seen = new Set<number | string>();
  for (const path of ['srv', 'usr', 'usr/lib']) made.add(directoryEntry(path));
  while (made.length < count) {
    // Popularity by a power: most references go to few files.
    const file = Math.floor(files * (next() / 2 ** 32) ** 3);
    const directory = `usr/lib/package-${file >>> 7}`;
    const isThere = seen.has(file);
    if (!isThere && !seen.has(directory)) {
      seen.add(directory);
      made.add(directoryEntry(directory));
    }
    seen.add(file);
    const path = isThere ? `srv/copy-${made.length}` : `${directory}/module-${file}.so`;
    const entry: RowEntry = {
      ...{ ...COMMON, type: 'file', path: path as Path, mode: 0o644 },
      size: 2 ** (mix(file, 5) % 20) + (mix(file, 6) % 1000),
      seconds: 1_600_000_000 + (mix(file, 7) % 100_000_000),
    };
    made.add(entry, digestOfFile(file));
  }
  made.finish();
  return made;
}

function diskBytes(directory: string): Record<string, number> {
  const sizes: Record<string, number> = {};
  for (const file of globSync('parts/*/**/*.parquet', { cwd: directory })) {
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
  const engine = await start(directory, `spill-${share}`);
  const shard = { number: share, count: SHARES };
  const writer = await IndexWriter.open(engine, { directory, shard: `${share}-of-${SHARES}` });
  const files = Math.ceil(rows * DISTINCT);
  for (let number = 0; number < layers; number++) {
    if (!isInShard(diffIdOf(number), shard)) continue;
    // Layers vary: a quarter to seven quarters of the mean.
    const count = Math.round((rows / layers) * (0.25 + (1.5 * mix(number, 3)) / 2 ** 32));
    const layer = layerRows(number, count, files);
    const diffId = diffIdOf(number);
    await writer.add({ diffId, rows: layer, origin: 'tar', uncompressed: 1, bytesRead: 0 });
  }
  await writer.flush();
  await writer.close();
  engine.close();
}

function start(directory: string, spill: string): Promise<Engine> {
  const memory = values.memory ? Number(values.memory) * 2 ** 20 : undefined;
  return Engine.start({
    tempDirectory: join(directory, spill),
    threads: values.share === undefined ? 2 : 1,
    ...(memory !== undefined && { memory }),
  });
}

/** Images over the layers, so that queries of updates have something to do: neighbours share all but a few layers. */
async function writeImages(directory: string, engine: Engine): Promise<string[]> {
  const tags = Array.from({ length: IMAGES }, (_, image): IndexedTag => {
    const own = Array.from({ length: IMAGE_LAYERS }, (_, i) => {
      const diffId = diffIdOf(i < IMAGE_LAYERS - 3 ? i : IMAGE_LAYERS + 3 * image + i);
      return { diffId, descriptor: { mediaType: MEDIA.layer, digest: diffId, size: 1 << 20 } };
    });
    const digest = digestOf(`image ${image}`);
    return {
      ...{ repository: `repository-${image % 10}`, tag: `${image}` },
      images: [{ digest, platform: 'linux/amd64', layers: own }],
    };
  });
  await writeSnapshot(engine, directory, ['bench'], tags);
  return tags.map(({ images }) => images[0]?.digest as string);
}

async function query(directory: string): Promise<void> {
  const engine = await start(directory, 'spill-q');
  const [from = '', to = ''] = await writeImages(directory, engine);
  const reader = await IndexReader.open(engine, directory);
  const [counted] = await reader.sql('SELECT count(*) AS n FROM entries');
  const total = Number(counted?.['n']);
  for (const [table, size] of Object.entries(diskBytes(directory)))
    console.log(`${table}: ${size} bytes, ${(size / total).toFixed(2)} a row of entries`);
  for (const name of Object.keys(sqlTexts().queries)) {
    const before = performance.now();
    const found = await reader.query(name, { limit: 20, places: 5, from, to, image: from });
    const seconds = (performance.now() - before) / 1000;
    console.log(`${name}: ${found.length} rows, ${seconds.toFixed(2)} s`);
  }
  console.log(`${total} rows, at most ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB`);
  engine.close();
}

const { directory } = values;
if (values.share !== undefined) {
  await write(directory, Number(values.share));
} else {
  if (!values['queries-only']) {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    const started = performance.now();
    const words = process.argv.slice(2);
    const processes = Array.from({ length: SHARES }, (_, share) =>
      promisify(execFile)(process.execPath, [
        import.meta.filename,
        ...words,
        '--share',
        `${share}`,
      ]),
    );
    await Promise.all(processes);
    const seconds = (performance.now() - started) / 1000;
    console.log(`written in ${seconds.toFixed(1)} s, some ${Math.round(rows / seconds)} rows/s`);
  }
  await query(directory);
  if (!values.keep) rmSync(directory, { recursive: true });
}
