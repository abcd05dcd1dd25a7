/** Documents of a store whose files lie on this machine, read by digest, each once. */
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RechunkError, systemCode } from '../errors.ts';
import { CONFIG_LIMIT, type Digest, isIndexType, isManifestType } from '../oci.ts';
import { configFacts, type DocumentFacts, hasImageConfig, manifestFacts } from './facts.ts';
import type { Sized } from './report.ts';
import type { Attachment } from './survey.ts';

/** Indexes in indexes that are followed. */
const DEPTH_LIMIT = 4;

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

/** The blobs of `DIR/ALGORITHM/HEX`, as OCI layouts have them; files that are no blobs are left out. */
export async function layoutBlobs(
  directory: string,
): Promise<(Sized & { readonly inode: string })[]> {
  const found: (Sized & { readonly inode: string })[] = [];
  for (const algorithm of ['sha256', 'sha512'] as const) {
    for (const hex of await namesIn(join(directory, algorithm))) {
      if (!/^[0-9a-f]+$/.test(hex)) continue;
      const { size, dev, ino } = await stat(join(directory, algorithm, hex));
      found.push({ digest: `${algorithm}:${hex}`, size, inode: `${dev} ${ino}` });
    }
  }
  return found;
}

/** Reads documents where `locate` says that they are, and keeps their facts. */
export class LocalDocuments {
  readonly documents: Map<Digest, DocumentFacts> = new Map();
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

  /** A document's bytes, checked; undefined where it is not there. */
  async bytes(digest: Digest): Promise<Buffer | undefined> {
    const path = this.#locate(digest);
    const found = await stat(path).catch(() => undefined);
    if (!found?.isFile()) return undefined;
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
