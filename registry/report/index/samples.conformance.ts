/** Layers in memory as sources for the index's tests. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { digestOf, MEDIA } from '../../oci.ts';
import { Engine } from './engine.ts';
import type { LayerSource } from './read.ts';
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
