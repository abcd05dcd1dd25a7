/**
 * Writes OCI layouts for tests from given tars, with Node's own codecs and plain file writes: nothing of the product's
 * layer writer, compressor or layout is used, so that a mistake there cannot hide in its own tests.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { link, mkdir, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip, createZstdCompress } from 'node:zlib';
import { command } from './command.ts';

/** One layer: an uncompressed tar (in memory, a file, or a stream that is opened when needed), and how it is stored. */
export interface LayerInput {
  readonly tar: Uint8Array | string | (() => Readable);
  /** Default `gzip`. */
  readonly compression?: 'gzip' | 'zstd' | 'none';
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A layer that another layout on the same file system has: its blob is linked, not made again. */
export interface StoredLayer {
  /** The blob. */
  readonly file: string;
  readonly descriptor: BuiltDescriptor;
  readonly diffId: string;
}

/** One image of a layout. */
export interface ImageInput {
  /** Lowest first. */
  readonly layers: readonly (LayerInput | StoredLayer)[];
  /** Its name in the layout; default `latest`. */
  readonly tag?: string;
  /** The `config` of the image config: Cmd, Env, Labels, … */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Other fields of the image config; default linux/amd64. */
  readonly fields?: Readonly<Record<string, unknown>>;
  /** Annotations of the manifest. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A blob as manifests name it. */
export interface BuiltDescriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** What was written for one image. */
export interface BuiltImage {
  readonly manifest: BuiltDescriptor;
  readonly config: BuiltDescriptor;
  readonly layers: readonly BuiltDescriptor[];
  readonly diffIds: readonly string[];
}

const OCI = 'application/vnd.oci.image';
const SUFFIX = { gzip: '+gzip', zstd: '+zstd', none: '' } as const;

/** Passes bytes on and digests them. */
function digesting(): { stream: Transform; digest: () => string } {
  const hash = createHash('sha256');
  const stream = new Transform({
    transform(chunk, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
  return { stream, digest: () => `sha256:${hash.digest('hex')}` };
}

function compressor(compression: 'gzip' | 'zstd' | 'none'): Transform {
  if (compression === 'gzip') return createGzip({ level: 6 });
  return compression === 'zstd' ? createZstdCompress() : new PassThrough();
}

function blobPath(dir: string, digest: string): string {
  return join(dir, 'blobs', 'sha256', digest.slice('sha256:'.length));
}

async function putJson(dir: string, mediaType: string, json: unknown): Promise<BuiltDescriptor> {
  const bytes = Buffer.from(JSON.stringify(json));
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  await writeFile(blobPath(dir, digest), bytes);
  return { mediaType, digest, size: bytes.length };
}

function open(tar: LayerInput['tar']): Readable {
  if (typeof tar === 'function') return tar();
  return typeof tar === 'string' ? createReadStream(tar) : Readable.from([tar]);
}

let temporary = 0;

async function putLayer(
  dir: string,
  input: LayerInput | StoredLayer,
): Promise<{ descriptor: BuiltDescriptor; diffId: string }> {
  if ('file' in input) {
    await link(input.file, blobPath(dir, input.descriptor.digest)).catch((error) => {
      // Another image has it.
      if (error.code !== 'EEXIST') throw error;
    });
    return input;
  }
  const { tar, compression = 'gzip', annotations } = input;
  const [plain, stored] = [digesting(), digesting()];
  const file = join(dir, `layer-${process.pid}-${temporary++}`);
  const stages = [open(tar), plain.stream, compressor(compression), stored.stream];
  await pipeline([...stages, createWriteStream(file)]);
  const { size } = await stat(file);
  const digest = stored.digest();
  await rename(file, blobPath(dir, digest));
  const mediaType = `${OCI}.layer.v1.tar${SUFFIX[compression]}`;
  const descriptor = { mediaType, digest, size, ...(annotations && { annotations }) };
  return { descriptor, diffId: plain.digest() };
}

async function putImage(dir: string, image: ImageInput): Promise<BuiltImage> {
  const layers: BuiltDescriptor[] = [];
  const diffIds: string[] = [];
  for (const input of image.layers) {
    const { descriptor, diffId } = await putLayer(dir, input);
    layers.push(descriptor);
    diffIds.push(diffId);
  }
  const config = await putJson(dir, `${OCI}.config.v1+json`, {
    os: 'linux',
    architecture: 'amd64',
    config: image.config ?? {},
    history: layers.map((_, i) => ({ created_by: `layer ${i}` })),
    ...image.fields,
    rootfs: { type: 'layers', diff_ids: diffIds },
  });
  const mediaType = `${OCI}.manifest.v1+json`;
  const { annotations } = image;
  const json = { schemaVersion: 2, mediaType, config, layers, ...(annotations && { annotations }) };
  return { manifest: await putJson(dir, mediaType, json), config, layers, diffIds };
}

/** Writes an OCI layout to `dir` (made if need be) that holds `images`, each under its tag. */
export async function writeLayout(
  dir: string,
  images: readonly ImageInput[],
): Promise<readonly BuiltImage[]> {
  await mkdir(join(dir, 'blobs', 'sha256'), { recursive: true });
  const built: BuiltImage[] = [];
  for (const image of images) built.push(await putImage(dir, image));
  const manifests = built.map(({ manifest }, i) => ({
    ...manifest,
    annotations: { 'org.opencontainers.image.ref.name': images[i]?.tag ?? 'latest' },
  }));
  const mediaType = `${OCI}.index.v1+json`;
  const index = { schemaVersion: 2, mediaType, manifests };
  await writeFile(join(dir, 'index.json'), JSON.stringify(index));
  await writeFile(join(dir, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  return built;
}

/** GNU tar's archive of the tree at `dir`, sorted, with xattrs and exact times, written to the file `to`. */
export async function tarOf(dir: string, to: string): Promise<string> {
  const exact = ['--format=posix', '--pax-option=delete=atime,delete=ctime', '--numeric-owner'];
  const xattrs = ['--xattrs', '--xattrs-include=*'];
  await command('tar', [...exact, ...xattrs, '--sort=name', '-C', dir, '-cf', to, '.']);
  return to;
}
