/**
 * What was asked of a layer's content: files that component repos read (package databases, manifests), the heads of others, and
 * digests other than sha256. With it a layer that is as it was need not be there to find its components.
 *
 * One file a layer, whose pieces are: how the content is stored, the length of the key, the key, the content. There are thousands of
 * small ones, and compressing takes longer to begin than to do, so that they are compressed all at once.
 */
import { promisify } from 'node:util';
import { zstdCompress } from 'node:zlib';
import type { FileDigest } from '../tree.ts';
import type { CacheDirectory } from './directory.ts';
import { expand, packPiece, QUICK, squeeze, unpackPieces } from './pieces.ts';

const KIND = 'content';
/** Content from this size on is compressed on its own, while the run goes on, bytes. */
const LARGE_BYTES: number = 256 << 10;
const PLAIN = 0;
const SQUEEZED = 1;
/** Plain pieces, compressed together. */
const TOGETHER = 2;
const HEAD_BYTES = 2;

const compress = promisify(zstdCompress);

/** Content and digests of one layer's files, by sha256. */
export class ContentMemo {
  readonly #directory: CacheDirectory;
  readonly #key: string;
  readonly #pieces: Map<string, Buffer> = new Map();
  readonly #digests: Map<FileDigest, Map<string, string>> = new Map();
  readonly #adding: Map<string, Promise<unknown>> = new Map();
  #loading: Promise<void> | undefined;
  #isChanged = false;

  /** `key` names the layer in the cache. */
  constructor(directory: CacheDirectory, key: string) {
    this.#directory = directory;
    this.#key = key;
  }

  /** The first `size` bytes of the content with this sha256; undefined where they were never asked for. */
  async find(sha256: string, size: number): Promise<Buffer | undefined> {
    await this.#load();
    const piece = this.#pieces.get(contentKey(sha256, size));
    return piece && contentOf(piece);
  }

  /** Remembers content, which must be right. */
  async add(sha256: string, content: Buffer): Promise<void> {
    await this.#load();
    const key = contentKey(sha256, content.length);
    if (this.#pieces.has(key) || this.#adding.has(key)) return;
    this.#isChanged = true;
    if (content.length < LARGE_BYTES) {
      this.#pieces.set(key, makePiece(PLAIN, key, content));
      return;
    }
    const squeezed = compress(content, QUICK).then((bytes) => {
      this.#pieces.set(key, makePiece(SQUEEZED, key, bytes));
    });
    this.#adding.set(key, squeezed);
  }

  /** Known digests by sha256. */
  async digests(algorithm: FileDigest): Promise<ReadonlyMap<string, string>> {
    await this.#load();
    return this.#digestsOf(algorithm);
  }

  /** Remembers digests by sha256, which must be right. */
  async addDigests(algorithm: FileDigest, digests: ReadonlyMap<string, string>): Promise<void> {
    await this.#load();
    const known = this.#digestsOf(algorithm);
    for (const [sha256, digest] of digests) known.set(sha256, digest);
    this.#isChanged = true;
  }

  #digestsOf(algorithm: FileDigest): Map<string, string> {
    const known = this.#digests.get(algorithm);
    if (known) return known;
    const piece = this.#pieces.get(algorithm);
    const listed = piece ? (JSON.parse(String(contentOf(piece))) as [string, string][]) : [];
    const digests = new Map(listed);
    this.#digests.set(algorithm, digests);
    return digests;
  }

  #load(): Promise<void> {
    this.#loading ??= this.#read();
    return this.#loading;
  }

  async #read(): Promise<void> {
    const file = await this.#directory.read(KIND, this.#key);
    for (const piece of file ? unpackPieces(file) : []) {
      const some = piece[0] === TOGETHER ? unpackPieces(expand(contentOf(piece))) : [piece];
      for (const one of some) this.#pieces.set(keyOf(one), one);
    }
  }

  /** Stores what was remembered since the layer's file was read. */
  async store(): Promise<void> {
    await Promise.all(this.#adding.values());
    if (!this.#isChanged) return;
    for (const [algorithm, digests] of this.#digests) {
      const text = Buffer.from(JSON.stringify([...digests]));
      this.#pieces.set(algorithm, makePiece(SQUEEZED, algorithm, squeeze(text)));
    }
    const pieces = Map.groupBy(this.#pieces.values(), ([method]) => method === PLAIN);
    const plain = Buffer.concat((pieces.get(true) ?? []).map(packPiece));
    const together = makePiece(TOGETHER, '', await compress(plain, QUICK));
    const file = this.#directory.create(KIND);
    for (const piece of [together, ...(pieces.get(false) ?? [])]) file.append(packPiece(piece));
    file.commit(this.#key);
  }
}

function contentKey(sha256: string, size: number): string {
  return `${sha256}/${size}`;
}

function makePiece(method: number, key: string, content: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(method, key.length), Buffer.from(key, 'latin1'), content]);
}

function keyOf(piece: Buffer): string {
  return piece.toString('latin1', HEAD_BYTES, HEAD_BYTES + (piece[1] as number));
}

function contentOf(piece: Buffer): Buffer {
  const content = piece.subarray(HEAD_BYTES + (piece[1] as number));
  return piece[0] === SQUEEZED ? expand(content) : content;
}
