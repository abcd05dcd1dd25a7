/** Layouts of images whose parts need not fit together: layers that are missing, damaged, of somebody else, or whose tables lie. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { ANNOTATION, type Annotations, type Digest, digestOf, MEDIA } from '../registry/oci.ts';
import { packTar } from '../registry/tarwriter.ts';
import { jsonDocument } from './sample.ts';

/** A layer as an image has it. */
export interface OddLayer {
  readonly blob: Buffer;
  /** What the config says. */
  readonly diffId: Digest;
  /** Default: a gzip tar's. */
  readonly mediaType?: string;
  readonly annotations?: Annotations;
  /** Whether the layout lacks it; default no. */
  readonly isMissing?: boolean;
}

/** An image for linux/amd64, and the tag that names it. */
export interface OddImage {
  readonly tag: string;
  readonly layers: readonly OddLayer[];
}

/** A layer of files, as it should be. */
export function soundLayer(files: Parameters<typeof packTar>[0], level = 6): OddLayer {
  const tar = packTar(files);
  return { blob: gzipSync(tar, { level }), diffId: digestOf(tar) };
}

/** The annotation by which a layer is eStargz. */
const TABLE_DIGEST = 'containerd.io/snapshot/stargz/toc.digest';
const FOOTER_SIZE = 51;
const FOOTER_START = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 26, 0, 0x53, 0x47, 22, 0];
const FOOTER_END = [1, 0, 0, 0xff, 0xff];

/** A blob with `content` (compressed; default nothing) and the table of contents `entries`, as eStargz has them. */
export function tabled(
  entries: readonly object[],
  content: Buffer = Buffer.alloc(0),
): Pick<OddLayer, 'blob' | 'annotations'> {
  const json = Buffer.from(JSON.stringify({ version: 1, entries }));
  const table = gzipSync(packTar([{ path: 'stargz.index.json', content: json }]));
  const footer = Buffer.alloc(FOOTER_SIZE);
  footer.set(FOOTER_START);
  const offset = content.length.toString(16).padStart(16, '0');
  footer.write(`${offset}STARGZ`, FOOTER_START.length, 'latin1');
  footer.set(FOOTER_END, FOOTER_SIZE - 13);
  const blob = Buffer.concat([content, table, footer]);
  return { blob, annotations: { [TABLE_DIGEST]: digestOf(json) } };
}

/** Writes a layout; images are a day apart, oldest first. */
export function writeOddLayout(directory: string, images: readonly OddImage[]): void {
  const blobs = join(directory, 'blobs/sha256');
  mkdirSync(blobs, { recursive: true });
  const put = (bytes: Uint8Array): void =>
    writeFileSync(join(blobs, digestOf(bytes).slice('sha256:'.length)), bytes);
  const manifests = images.map(({ tag, layers }, i) => {
    const descriptors = layers.map(({ blob, mediaType, annotations, isMissing }) => {
      if (!isMissing) put(blob);
      const media = mediaType ?? MEDIA.layerGzip;
      const own = { mediaType: media, digest: digestOf(blob), size: blob.length };
      return annotations ? { ...own, annotations } : own;
    });
    const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
    const created = new Date(Date.UTC(2024, 0, 1 + i)).toISOString();
    const config = jsonDocument(
      { os: 'linux', architecture: 'amd64', created, rootfs },
      MEDIA.config,
    );
    const root = jsonDocument(
      {
        ...{ schemaVersion: 2, mediaType: MEDIA.manifest },
        ...{ config: config.descriptor, layers: descriptors },
      },
      MEDIA.manifest,
    );
    put(config.bytes);
    put(root.bytes);
    return { ...root.descriptor, annotations: { [ANNOTATION.refName]: tag } };
  });
  writeFileSync(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  writeFileSync(join(directory, 'oci-layout'), '{"imageLayoutVersion": "1.0.0"}');
}
