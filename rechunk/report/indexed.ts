/**
 * File systems of images put together from an index of files, whose layers need not be read for it. They have all that comparing images asks
 * for; content there is of documents alone, and digests beside sha256 as far as they were kept.
 */
import { hash } from 'node:crypto';
import { RechunkError } from '../../registry/errors.ts';
import type { Digest } from '../../registry/oci.ts';
import { type Path, showPath } from '../../registry/path.ts';
import type { IndexReader } from '../../registry/report/index/reader.ts';
import {
  type IndexedLayer,
  type KnownDigests,
  recallDigests,
  recallDocuments,
  recallLayers,
} from '../../registry/report/index/recall.ts';
import { KEPT } from '../documents.ts';
import { flatten } from '../flatten.ts';
import {
  type Body,
  type Contents,
  type Entry,
  type FileDigest,
  type Inode,
  Tree,
} from '../tree.ts';

/** An image of an index. */
export interface IndexedImage {
  /** How messages name it. */
  readonly name: string;
  /** Lowest first. */
  readonly diffIds: readonly Digest[];
}

/** Content that lies nowhere: it is known by its digest. */
const NOWHERE: Body = { file: '', offset: 0 };

/** Layers of an index in memory, from which the trees of images are made. */
export class IndexedLayers {
  readonly #reader: IndexReader;
  readonly #diffIds: readonly Digest[];
  readonly #layers: ReadonlyMap<Digest, IndexedLayer>;
  #digests: Promise<ReadonlyMap<string, KnownDigests>> | undefined;

  private constructor(
    reader: IndexReader,
    diffIds: readonly Digest[],
    layers: ReadonlyMap<Digest, IndexedLayer>,
  ) {
    this.#reader = reader;
    this.#diffIds = diffIds;
    this.#layers = layers;
  }

  /** Loads those of these layers that the index has. */
  static async load(reader: IndexReader, diffIds: Iterable<Digest>): Promise<IndexedLayers> {
    const wanted = [...new Set(diffIds)];
    return new IndexedLayers(reader, wanted, await recallLayers(reader, wanted));
  }

  /**
   * The file system of an image. Throws `not-found` where the index lacks a layer, `unsupported` where it lacks what was to be kept of
   * its content, and what flattening throws.
   */
  async tree({ name, diffIds }: IndexedImage): Promise<Tree> {
    const layers = diffIds.map((diffId, i) => this.#find(diffId, `layer ${i + 1} of ${name}`));
    const indexes = layers.map(({ entries }, i) => {
      return { entries, body: () => NOWHERE, name: `layer ${i + 1} of ${name}` };
    });
    const { entries } = flatten(indexes);
    return new Tree(entries, await this.#contentsOf(entries), 'in order');
  }

  #find(diffId: Digest, name: string): IndexedLayer {
    const found = this.#layers.get(diffId);
    const at = `looking up ${name} (${diffId})`;
    if (!found) throw new RechunkError('not-found', `${at}: the index of files lacks it`);
    if (found.kept !== 'nothing') return found;
    throw new RechunkError(
      'unsupported',
      `${at}: it was indexed without the content of package databases; want an index that \`report --files\` or \`report index\` wrote`,
    );
  }

  async #contentsOf(entries: readonly Entry[]): Promise<Contents> {
    const wanted = entries.filter(({ path, inode }) => inode.size > 0 && KEPT.isDocument(path));
    const digests = new Set(wanted.map(({ inode }) => inode.sha256));
    const documents = await recallDocuments(this.#reader, [...digests].filter(isSha256));
    const names = new Map(wanted.map(({ path, inode }) => [inode, path]));
    return {
      read: (inode, limit = inode.size) =>
        Promise.resolve(contentOf(inode, documents, names.get(inode)).subarray(0, limit)),
      digests: (algorithm, inodes) => this.#digest(algorithm, inodes),
    };
  }

  async #digest(algorithm: FileDigest, inodes: readonly Inode[]): Promise<string[]> {
    this.#digests ??= recallDigests(this.#reader, this.#diffIds);
    const known = await this.#digests;
    const isKept = algorithm === 'md5' || algorithm === 'sha1';
    const ofNothing = hash(algorithm, '');
    return inodes.map(({ size, sha256 }) => {
      if (size === 0) return ofNothing;
      return (isKept && known.get(sha256)?.[algorithm]) || '';
    });
  }
}

const isSha256 = (hex: string): boolean => hex !== '';

function contentOf(
  { size, sha256 }: Inode,
  documents: ReadonlyMap<string, Buffer>,
  path: Path | undefined,
): Buffer {
  const known = size === 0 ? Buffer.alloc(0) : documents.get(sha256);
  if (known) return known;
  const what = path === undefined ? `a file (sha256 ${sha256})` : `/${showPath(path)}`;
  throw new RechunkError(
    'unsupported',
    `reading ${what}: the index of files does not have its content`,
  );
}
