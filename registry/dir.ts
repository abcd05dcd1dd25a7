/**
 * `dir:DIR`, what skopeo, podman and buildah write for that transport (containers-transports(5)): `manifest.json`, blobs named by
 * the hexadecimal part of their digests, and for an index `HEX.manifest.json` for each image. Read as an OCI layout whose index
 * names that manifest.
 */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { during, RechunkError, systemCode } from './errors.ts';
import type { Source } from './image.ts';
import { LAYOUT_VERSION } from './layout.ts';
import { type Digest, digestOf, MANIFEST_LIMIT, MEDIA, parseDigest, parseManifest } from './oci.ts';
import { openStore, type Place, type Store } from './store.ts';

/** How the directory is opened. */
export interface DirOptions {
  /** How messages name it; default `dir:DIR`. */
  readonly reference?: string;
  /** Called by the source's `close`. */
  readonly close?: () => Promise<void>;
}

const MANIFEST = 'manifest.json';

/** Opens the image, or the index with its images, that is in `dir`. */
export async function openDir(dir: string, options: DirOptions = {}): Promise<Source> {
  const { reference = `dir:${dir}`, close = () => Promise.resolve() } = options;
  const bytes = await during(`reading ${reference}`, () => readManifest(dir));
  const digest = digestOf(bytes);
  const mediaType = mediaTypeOf(bytes, reference);
  const index = { schemaVersion: 2, manifests: [{ mediaType, digest, size: bytes.length }] };
  const store: Store = {
    reference,
    readFile: async (name) =>
      Buffer.from(name === 'oci-layout' ? LAYOUT_VERSION : JSON.stringify(index)),
    locate: (wanted) => locate(dir, wanted, digest),
    close,
  };
  return openStore(store, undefined);
}

async function readManifest(dir: string): Promise<Buffer> {
  const path = join(dir, MANIFEST);
  const { size } = await stat(path);
  if (size <= MANIFEST_LIMIT) return readFile(path);
  throw new RechunkError('limit', `${path} has ${size} bytes, at most ${MANIFEST_LIMIT} are read`);
}

/** What the manifest says it is; OCI's may say nothing, and no other place does. */
function mediaTypeOf(bytes: Buffer, reference: string): string {
  const parsed = parseManifest(bytes, '', `the manifest of ${reference}`);
  if (parsed.kind === 'index') return parsed.index.mediaType ?? MEDIA.index;
  return parsed.manifest.mediaType ?? MEDIA.manifest;
}

async function locate(dir: string, digest: Digest, root: Digest): Promise<Place | undefined> {
  const [algorithm, hex = ''] = parseDigest(digest).split(':');
  const own = algorithm === 'sha256' ? hex : `${algorithm}-${hex}`;
  for (const name of [...(digest === root ? [MANIFEST] : []), own, `${own}.${MANIFEST}`]) {
    const path = join(dir, name);
    const found = await stat(path).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (found?.isFile()) return { path, offset: 0, size: found.size };
  }
  return undefined;
}
