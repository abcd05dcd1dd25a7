/** Layers in memory as sources for the index's tests, and what the index keeps of them. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { tabled } from '../../../test-images/odd.ts';
import type { Blob, ByteRange } from '../../image.ts';
import { digestOf, MEDIA } from '../../oci.ts';
import { packTar } from '../../tarwriter.ts';
import { Engine } from './engine.ts';
import type { LayerSource, ReadLayer } from './read.ts';
import type { IndexedTag } from './snapshot.ts';

/** A layer whose blob is the tar itself, or compressed by gzip; `reads` counts how often it is opened. */
export function sourceOf(
  tar: Buffer,
  compression: 'none' | 'gzip' = 'none',
): LayerSource & { reads: number } {
  const bytes = compression === 'gzip' ? gzipSync(tar) : tar;
  const digest = digestOf(bytes);
  const made: LayerSource & { reads: number } = {
    reads: 0,
    diffId: digestOf(tar),
    descriptor: { mediaType: MEDIA.layer, digest, size: bytes.length },
    name: 'a layer in memory',
    open: () => {
      made.reads++;
      return Promise.resolve({
        stream: async function* () {
          yield bytes;
        },
      });
    },
  };
  return made;
}

/** A tag with one image of these layers; its digest is that of the name and the layers. */
export function tagOf(
  repository: string,
  tag: string,
  layers: readonly LayerSource[],
): IndexedTag & { readonly images: readonly [IndexedTag['images'][number]] } {
  const digest = digestOf(
    [repository, tag, ...layers.map(({ descriptor }) => descriptor.digest)].join(),
  );
  return { repository, tag, images: [{ digest, platform: 'linux/amd64', layers }] };
}

/** An engine and a directory for an index, both gone after `close`. */
export async function startEngine(): Promise<{
  readonly engine: Engine;
  readonly directory: string;
  close(): void;
}> {
  const work = mkdtempSync('/var/tmp/rechunk-index-');
  const engine = await Engine.start({ tempDirectory: join(work, 'spill'), threads: 2 });
  const close = (): void => {
    engine.close();
    rmSync(work, { recursive: true });
  };
  return { engine, directory: join(work, 'index'), close };
}

/** A blob that says which stretches of it were read. */
function blobInParts(bytes: Buffer): Blob & { readonly parts: ByteRange[]; whole: number } {
  const made = {
    parts: [] as ByteRange[],
    whole: 0,
    stream: async function* () {
      made.whole++;
      yield bytes;
    },
    part: (range: ByteRange) => {
      made.parts.push(range);
      return Promise.resolve(bytes.subarray(range.offset, range.offset + range.size));
    },
  };
  return made;
}

/** A layer whose blob can be read in part, and says what of it was read. */
export function partialSource(
  tar: Buffer,
  blob: Buffer,
  annotations: Record<string, string> = {},
): LayerSource & { readonly blob: ReturnType<typeof blobInParts> } {
  const made = blobInParts(blob);
  return {
    blob: made,
    diffId: digestOf(tar),
    descriptor: { mediaType: MEDIA.layer, digest: digestOf(blob), size: blob.length, annotations },
    name: 'a layer',
    open: () => Promise.resolve(made),
  };
}

/** A layer whose table of contents claims that its file `liar`, with the content `content`, has `size` bytes. */
export function claimsOf(content: string, size: number): ReturnType<typeof partialSource> {
  const tar = packTar([{ path: 'liar', content }]);
  const claim = { name: 'liar', type: 'reg', size, digest: digestOf(content), mode: 0o644 };
  const { blob, annotations = {} } = tabled([claim], gzipSync(tar.subarray(0, -1024)));
  return partialSource(tar, blob, annotations);
}

/** All that the index keeps of a layer, row by row. */
export function told({ rows }: ReadLayer): {
  readonly paths: readonly string[];
  readonly links: readonly string[];
  readonly columns: readonly (readonly number[])[];
  readonly hashes: readonly string[];
  readonly trees: readonly string[];
} {
  const n = rows.length;
  const digests = [rows.files, rows.paths, rows.links, rows.xattrs];
  const hashes = digests.map((all) =>
    createHash('sha256')
      .update(all.subarray(0, n * 32))
      .digest('hex'),
  );
  const numbers = [rows.kind, rows.mode, rows.size, rows.uid, rows.gid, rows.seconds];
  const columns = [...numbers, rows.nanoseconds, rows.device].map((all) => [...all.subarray(0, n)]);
  const trees = [rows.treeDigest, rows.metadataDigest].map((digest) => digest.toString('hex'));
  return { paths: rows.pathText, links: rows.linkText, columns, hashes, trees };
}
