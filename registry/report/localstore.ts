/** Documents of a store whose files lie on this machine, read by digest, each once. */
import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RechunkError, systemCode } from '../errors.ts';
import { CONFIG_LIMIT, type Digest, isIndexType, isManifestType } from '../oci.ts';
import { configFacts, type DocumentFacts, hasImageConfig, manifestFacts } from './facts.ts';
import type { Sized } from './report.ts';
import type { Attachment, SurveyedStore } from './survey.ts';

/** Indexes in indexes that are followed. */
const DEPTH_LIMIT = 4;

const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/** The names in a directory, sorted; none where there is no directory. */
export async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}

/** Hexadecimal digits of a digest. */
export const HEX_LENGTH = { sha256: 64, sha512: 128 } as const;

/** The file at `path`; undefined where there is none. */
export async function fileAt(path: string): Promise<Stats | undefined> {
  const found = await statsOf(path);
  return found?.isFile() ? found : undefined;
}

/** What lies at `path`; undefined for nothing (any more: registries that are surveyed may run meanwhile) and for links that lead nowhere. */
export async function statsOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return undefined;
    throw error;
  }
}

/** The blobs of `DIR/ALGORITHM/HEX`, as OCI layouts have them; files that are no blobs are left out. */
export async function layoutBlobs(
  directory: string,
): Promise<(Sized & { readonly inode: string })[]> {
  const found: (Sized & { readonly inode: string })[] = [];
  for (const algorithm of ['sha256', 'sha512'] as const) {
    for (const hex of await namesIn(join(directory, algorithm))) {
      if (hex.length !== HEX_LENGTH[algorithm] || !/^[0-9a-f]+$/.test(hex)) continue;
      const file = await fileAt(join(directory, algorithm, hex));
      if (file)
        found.push({
          digest: `${algorithm}:${hex}`,
          size: file.size,
          inode: `${file.dev} ${file.ino}`,
        });
    }
  }
  return found;
}

/** Reads documents where `locate` says that they are, and keeps their facts. */
export class LocalDocuments {
  readonly documents: Map<Digest, DocumentFacts> = new Map();
  /** What may be needed by documents that could not be understood. */
  readonly claimed: Set<Digest> = new Set();
  /** Documents of which not even that can be told. */
  readonly unread: Set<Digest> = new Set();
  readonly #locate: (digest: Digest) => string;
  /** The least depth at which what a document leads to was read. */
  readonly #followed: Map<Digest, number> = new Map();

  constructor(locate: (digest: Digest) => string) {
    this.#locate = locate;
  }

  /** The manifest or index with that digest; undefined where it is not there. Throws what is wrong with it. */
  async manifest(digest: Digest, mediaType = ''): Promise<DocumentFacts | undefined> {
    const known = this.documents.get(digest);
    if (known) return known;
    const bytes = await this.bytes(digest);
    if (!bytes) return undefined;
    const facts = manifestFacts({ digest, size: bytes.length, mediaType }, bytes, digest);
    this.documents.set(digest, facts);
    return facts;
  }

  /** Reads what the manifest leads to, each document once however often it is named; what is missing is left out. */
  async follow(facts: DocumentFacts, depth = 0): Promise<void> {
    if ((this.#followed.get(facts.digest) ?? DEPTH_LIMIT + 1) <= depth) return;
    this.#followed.set(facts.digest, depth);
    if (facts.kind === 'manifest' && hasImageConfig(facts)) await this.#config(facts.config.digest);
    if (facts.kind !== 'index' || depth === DEPTH_LIMIT) return;
    for (const { digest, mediaType } of facts.entries) {
      if (!isManifestType(mediaType) && !isIndexType(mediaType)) continue;
      const child = await this.manifest(digest, mediaType);
      if (child) await this.follow(child, depth + 1);
    }
  }

  async #config(digest: Digest): Promise<void> {
    if (this.documents.has(digest)) return;
    const bytes = await this.bytes(digest);
    if (bytes) this.documents.set(digest, configFacts(digest, bytes, digest));
  }

  /**
   * Takes what `digest` names, and what its images name if it is an index, for needed, though it is not understood (Docker's schema 1,
   * a damaged config): whoever collects garbage may read more than we do.
   */
  async claim(digest: Digest): Promise<void> {
    if (this.claimed.has(digest)) return;
    this.claimed.add(digest);
    try {
      const bytes = await this.bytes(digest);
      const named = bytes ? digestsIn(JSON.parse(bytes.toString())) : { all: [], images: [] };
      for (const one of named.images) await this.claim(one);
      for (const one of named.all) this.claimed.add(one);
    } catch (error) {
      if (!(error instanceof RechunkError || error instanceof SyntaxError)) throw error;
      this.unread.add(digest);
    }
  }

  /** What a store says of what could not be read. */
  get doubts(): Pick<SurveyedStore, 'claimed' | 'unknown'> {
    const [first] = this.unread;
    const others = this.unread.size > 1 ? ` and ${this.unread.size - 1} more` : '';
    return {
      claimed: this.claimed,
      ...(first !== undefined && { unknown: `what ${first}${others} needs cannot be read` }),
    };
  }

  /** A document's bytes, checked; undefined where it is not there. */
  async bytes(digest: Digest): Promise<Buffer | undefined> {
    const path = this.#locate(digest);
    const found = await fileAt(path);
    if (!found) return undefined;
    if (found.size > CONFIG_LIMIT)
      throw new RechunkError(
        'limit',
        `${path} has ${found.size} bytes, at most ${CONFIG_LIMIT} are read`,
      );
    const bytes = await readFile(path);
    const [algorithm = ''] = digest.split(':');
    const got = `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
    if (got === digest) return bytes;
    throw new RechunkError('digest-mismatch', `${path}: got digest ${got}, want ${digest}`);
  }
}

/** What belongs to what by its `subject`, of manifests that are there. */
export function attachedBySubject(
  manifests: Iterable<Digest>,
  documents: ReadonlyMap<Digest, DocumentFacts>,
): Map<Digest, Attachment[]> {
  const attached = new Map<Digest, Attachment[]>();
  for (const digest of manifests) {
    const facts = documents.get(digest);
    const subject = facts && 'subject' in facts ? facts.subject : undefined;
    if (subject === undefined || subject === digest) continue;
    attached.set(subject, [...(attached.get(subject) ?? []), { digest, by: 'referrers' }]);
  }
  return attached;
}

/** Every digest in a JSON document, and those of the images that it lists. */
function digestsIn(document: unknown): { readonly all: Digest[]; readonly images: Digest[] } {
  const [all, images]: [Digest[], Digest[]] = [[], []];
  const left: unknown[] = [document];
  for (let value = left.pop(); value !== undefined; value = left.pop()) {
    if (typeof value === 'string' && DIGEST.test(value)) all.push(value as Digest);
    if (typeof value !== 'object' || value === null) continue;
    for (const one of Object.values(value)) if (one !== undefined) left.push(one);
    const { manifests } = value as { manifests?: unknown };
    if (Array.isArray(manifests))
      for (const one of manifests) {
        const digest: unknown = one?.digest;
        if (typeof digest === 'string' && DIGEST.test(digest)) images.push(digest as Digest);
      }
  }
  return { all, images };
}
