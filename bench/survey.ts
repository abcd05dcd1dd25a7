/**
 * How long `rechunk report` takes on a registry of many tags, and what it asks for: the first run, the second, and one after a
 * tag has moved, by the command line as it is installed. Images are documents and tiny layers, since no layer is read.
 *
 * `node bench/survey.ts [TAGS] [LAYERS]`; 1,000 tags of 60 layers by default. The registry is Debian's docker-registry on this machine.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Document, openDestination } from '../registry/registry.ts';
import { runCli } from '../test-images/cli.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import { documentOf, jsonDocument } from '../test-images/sample.ts';
import { buildProgram } from './speed/tools.ts';

const OCI = 'application/vnd.oci.image';
const REPOSITORY = 'product';
/** Layers of a tag that the tag before has not. */
const NEW_LAYERS = 3;
/** Tags that are pushed at a time. */
const AT_ONCE = 8;
const FIRST_MS = Date.UTC(2024, 0, 1);
const HOUR_MS = 3_600_000;

/** One run. */
export interface Measured {
  readonly run: 'first' | 'second' | 'moved';
  readonly ms: number;
  /** Requests by method, status and kind. */
  readonly requests: Readonly<Record<string, number>>;
  /** Bytes of answers. */
  readonly bytes: number;
}

const layer = (name: string): Document => documentOf(Buffer.from(name), `${OCI}.layer.v1.tar+zstd`);

/** The image of tag `n`: its last layers are its own, the others those of every tag. */
function imageOf(n: number, layers: number): { root: Document; blobs: Document[] } {
  const shared = Array.from({ length: layers - NEW_LAYERS }, (_, i) => layer(`layer ${i}`));
  const own = Array.from({ length: NEW_LAYERS }, (_, i) => layer(`layer ${i} of ${n}`));
  const all = [...shared, ...own];
  const steps = all.map((_, i) => ({
    created_by: `COPY part ${i} with a command line of usual length`,
  }));
  const config = jsonDocument(
    {
      ...{ os: 'linux', architecture: 'amd64', history: steps },
      created: new Date(FIRST_MS + n * HOUR_MS).toISOString(),
      rootfs: { type: 'layers', diff_ids: all.map(({ descriptor }) => descriptor.digest) },
    },
    `${OCI}.config.v1+json`,
  );
  const mediaType = `${OCI}.manifest.v1+json`;
  const descriptors = all.map(({ descriptor }) => descriptor);
  const manifest = { schemaVersion: 2, mediaType, config: config.descriptor, layers: descriptors };
  return { root: jsonDocument(manifest, mediaType), blobs: [...all, config] };
}

async function push(host: string, tag: string, image: ReturnType<typeof imageOf>): Promise<void> {
  const to = `docker://${host}/${REPOSITORY}:${tag}`;
  const destination = await openDestination(to, { env: {} });
  for (const { descriptor, bytes } of image.blobs) await destination.putBytes(descriptor, bytes);
  await destination.commit(image.root, []);
  await destination.close();
}

async function fill(host: string, tags: number, layers: number): Promise<void> {
  const first = imageOf(0, layers);
  await push(host, '1.0', first);
  const there = new Set(first.blobs.map(({ descriptor }) => descriptor.digest));
  for (let from = 1; from < tags; from += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, tags - from) }, (_, i) => from + i);
    const pushNew = (n: number): Promise<void> => {
      const { root, blobs } = imageOf(n, layers);
      const news = blobs.filter(({ descriptor }) => !there.has(descriptor.digest));
      return push(host, `1.${n}`, { root, blobs: news });
    };
    await Promise.all(some.map(pushNew));
  }
}

async function measure(
  registry: Registry,
  run: Measured['run'],
  { cache, entry }: { readonly cache: string; readonly entry: string | undefined },
): Promise<Measured> {
  const before = registry.accessLog().length;
  const began = performance.now();
  const args = ['report', `docker://${registry.host}`, '--json', '--quiet', '--cache', cache];
  const { status, stderr } = await runCli(args, {
    env: { RECHUNK_NO_CACHE: '' },
    ...(entry && { entry }),
  });
  const ms = performance.now() - began;
  if (status !== 0) throw new Error(stderr);
  const log = registry.accessLog().slice(before);
  const requests: Record<string, number> = {};
  for (const { method, status: got, path } of log) {
    const kind = /\/(manifests|blobs|tags|referrers)\//.exec(path)?.[1] ?? path.replace(/\?.*/, '');
    const key = `${method} ${got} ${kind}`;
    requests[key] = (requests[key] ?? 0) + 1;
  }
  return { run, ms, requests, bytes: log.reduce((sum, one) => sum + one.bytes, 0) };
}

/** Fills a registry with so many tags of so many layers, and surveys it three times, by the command line at `entry` (default: as tests run it). */
export async function benchSurvey(
  tags: number,
  layers: number,
  entry?: string,
): Promise<Measured[]> {
  const registry = await startRegistry();
  const work = await mkdtemp(join(tmpdir(), 'rechunk-survey-'));
  try {
    await fill(registry.host, tags, layers);
    const by = { cache: join(work, 'cache'), entry };
    const first = await measure(registry, 'first', by);
    const second = await measure(registry, 'second', by);
    await push(registry.host, '1.0', imageOf(tags, layers));
    return [first, second, await measure(registry, 'moved', by)];
  } finally {
    await registry.stop();
    await rm(work, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [tags = 1000, layers = 60] = process.argv.slice(2).map(Number);
  const found = await benchSurvey(tags, layers, await buildProgram());
  for (const { run, ms, requests, bytes } of found) {
    const asked = Object.entries(requests).map(([what, count]) => `${count} ${what}`);
    console.log(`${run}: ${(ms / 1000).toFixed(2)} s, ${bytes} bytes; ${asked.join(', ')}`);
  }
}
