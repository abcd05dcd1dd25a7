/**
 * The index of files at scale: synthetic layers through the real writer, then every query of a report.
 *
 * `node bench/report.ts [--rows N] [--layers N] [--directory DIR] [--keep] [--memory SIZE_MIB] [--queries-only]`
 *
 * The layers are shaped like those of Docker Hub (Zhao et al., CLUSTER 2019): 3 % of the files are distinct, a few are in very many
 * layers and most in few, and a file mostly has the same path wherever it is.
 */
import { existsSync, globSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Digest } from '../registry/oci.ts';
import type { Path } from '../registry/path.ts';
import { Engine } from '../registry/report/index/engine.ts';
import { LayerRows, type RowEntry } from '../registry/report/index/rows.ts';
import { IndexWriter } from '../registry/report/index/writer.ts';

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '20000000' },
    layers: { type: 'string', default: '7000' },
    directory: { type: 'string', default: '/var/tmp/rechunk-bench-report' },
    memory: { type: 'string', default: '2048' },
    keep: { type: 'boolean' },
    'queries-only': { type: 'boolean' },
  },
});
const [rows, layers] = [Number(values.rows), Number(values.layers)];
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

const NO_XATTRS = new Map();
function layerRows(number: number, count: number, files: number): LayerRows {
  const next = random(number * 7919 + 1);
  const made = new LayerRows();
  const seen = new Set<number>();
  for (let i = 0; i < count; i++) {
    // Popularity by a power: of a thousand references, most go to few files.
    const file = Math.floor(files * (next() / 2 ** 32) ** 3);
    const path = seen.has(file)
      ? `srv/copy${i}/f${file}`
      : `usr/lib/p${file >>> 7}/share/module-${file}.so`;
    seen.add(file);
    const size = 2 ** (mix(file, 5) % 20) + (mix(file, 6) % 1000);
    const entry: RowEntry = {
      ...{ type: 'file', path: path as Path, mode: 0o644, uid: 0, gid: 0, size, link: '' },
      ...{ seconds: 1_600_000_000 + (mix(file, 7) % 100_000_000), nanoseconds: 0 },
      ...{ devMajor: 0, devMinor: 0, xattrs: NO_XATTRS },
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

async function write(directory: string, engine: Engine): Promise<void> {
  const writer = await IndexWriter.open(engine, { directory, shard: '0-of-1' });
  const files = Math.ceil(rows * DISTINCT);
  const perLayer = Math.round(rows / layers);
  const started = performance.now();
  let [made, total] = [0, 0];
  for (let number = 0; number < layers; number++) {
    const before = performance.now();
    // Layers vary: a quarter to seven quarters of the mean.
    const own = Math.max(1, Math.round(perLayer * (0.25 + (1.5 * mix(number, 3)) / 2 ** 32)));
    const layer = layerRows(number, own, files);
    made += performance.now() - before;
    total += layer.length;
    const diffId: Digest = `sha256:${[...Array(8).keys()]
      .map((i) =>
        mix(number, i * 77 + 13)
          .toString(16)
          .padStart(8, '0'),
      )
      .join('')}`;
    await writer.add({ diffId, rows: layer, origin: 'tar', uncompressed: 1, bytesRead: 0 });
  }
  await writer.flush();
  await writer.close();
  const seconds = (performance.now() - started) / 1000;
  console.log(
    `${total} rows in ${seconds.toFixed(1)} s, ${Math.round(total / seconds)} rows/s (making rows took ${(made / 1000).toFixed(1)} s)`,
  );
  const sizes = diskBytes(directory);
  for (const [table, size] of Object.entries(sizes))
    console.log(`${table}: ${size} bytes, ${(size / total).toFixed(2)} a row`);
}

if (!values['queries-only']) {
  if (existsSync(values.directory)) rmSync(values.directory, { recursive: true });
  mkdirSync(join(values.directory, 'spill'), { recursive: true });
}
const engine = await Engine.start({
  tempDirectory: join(values.directory, 'spill'),
  memory: Number(values.memory) * 2 ** 20,
});
if (!values['queries-only']) await write(values.directory, engine);
engine.close();
if (!values.keep) rmSync(values.directory, { recursive: true });
