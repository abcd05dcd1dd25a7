/**
 * Facts of one repository as one small file, for the next survey: which digest each tag had, and all documents. Digests and
 * media types are written once, so that a thousand tags of a hundred layers that they share take a few hundred kilobytes.
 */
import { gunzipSync, gzipSync } from 'node:zlib';
import type { Digest } from '../oci.ts';
import type { BlobFacts, ConfigFacts, DocumentFacts, EntryFacts } from './facts.ts';

/** Grows whenever what is written means something else. */
const PACK_VERSION = 2;

/** What is kept of a repository. */
export interface Pack {
  readonly tags: ReadonlyMap<string, Digest>;
  readonly documents: Iterable<DocumentFacts>;
}

/** A pack as it is read. */
export interface ReadPack {
  readonly tags: Map<string, Digest>;
  readonly documents: Map<Digest, DocumentFacts>;
}

type PackedBlob = readonly [digest: number, size: number, mediaType: number];
type PackedEntry = readonly [blob: number, platform: string | 0, attests: number];
type PackedDocument =
  | readonly ['m', blob: number, config: number, layers: number[], subject: number, type: number]
  | readonly ['i', blob: number, entries: PackedEntry[], subject: number]
  | readonly [
      'c',
      digest: number,
      created: string | 0,
      platform: string,
      layers: number[],
      steps: number[],
    ];

interface Packed {
  readonly version: number;
  readonly texts: readonly string[];
  readonly blobs: readonly PackedBlob[];
  readonly tags: readonly (readonly [tag: string, digest: number])[];
  readonly documents: readonly PackedDocument[];
}

/** Numbers for things, in the order in which they come. */
class Numbers<T> {
  readonly all: T[] = [];
  readonly #numbers: Map<string, number> = new Map();

  of(key: string, thing: () => T): number {
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    this.#numbers.set(key, this.all.length);
    return this.all.push(thing()) - 1;
  }
}

/** The bytes of a pack. */
export function writePack({ tags, documents }: Pack): Uint8Array {
  const texts = new Numbers<string>();
  const blobs = new Numbers<PackedBlob>();
  const text = (one: string): number => texts.of(one, () => one);
  const maybe = (one: string | undefined): number => (one === undefined ? -1 : text(one));
  const blob = ({ digest, size, mediaType }: BlobFacts): number =>
    blobs.of(`${digest} ${size} ${mediaType}`, () => [text(digest), size, text(mediaType)]);
  const entry = (one: EntryFacts): PackedEntry => [
    blob(one),
    one.platform ?? 0,
    maybe(one.attests),
  ];
  const pack = (one: DocumentFacts): PackedDocument => {
    if (one.kind === 'index') return ['i', blob(one), one.entries.map(entry), maybe(one.subject)];
    if (one.kind === 'manifest') {
      const { config, layers, subject, type } = one;
      return ['m', blob(one), blob(config), layers.map(blob), maybe(subject), text(type)];
    }
    const { digest, created = 0, platform, diffIds, createdBy } = one;
    return ['c', text(digest), created, platform, diffIds.map(text), createdBy.map(text)];
  };
  const packed: Packed = {
    version: PACK_VERSION,
    documents: [...documents].map(pack),
    tags: [...tags].map(([tag, digest]) => [tag, text(digest)]),
    texts: texts.all,
    blobs: blobs.all,
  };
  return gzipSync(JSON.stringify(packed), { level: 1 });
}

/** What a pack holds; nothing where it is of another version or no pack. Whether it is whole is the memory's business. */
export function readPack(bytes: Uint8Array | undefined): ReadPack {
  const none: ReadPack = { tags: new Map(), documents: new Map() };
  if (!bytes) return none;
  try {
    const packed = JSON.parse(gunzipSync(bytes).toString()) as Packed;
    return packed.version === PACK_VERSION ? unpack(packed) : none;
  } catch {
    return none;
  }
}

function unpack({ texts, blobs, tags, documents }: Packed): ReadPack {
  const digest = (at: number): Digest => texts[at] as Digest;
  const facts = blobs.map(
    ([at, size, type]): BlobFacts => ({
      digest: digest(at),
      size,
      mediaType: texts[type] as string,
    }),
  );
  const blob = (at: number): BlobFacts => facts[at] as BlobFacts;
  const subjectOf = (at: number): { subject?: Digest } => (at < 0 ? {} : { subject: digest(at) });
  const entry = ([at, platform, attests]: PackedEntry): EntryFacts => ({
    ...blob(at),
    ...(platform !== 0 && { platform }),
    ...(attests >= 0 && { attests: digest(attests) }),
  });
  const read = (one: PackedDocument): DocumentFacts => {
    if (one[0] === 'm') {
      const [, at, config, layers, subject, type] = one;
      const parts = { config: blob(config), layers: layers.map(blob), type: texts[type] as string };
      return { kind: 'manifest', ...blob(at), ...parts, ...subjectOf(subject) };
    }
    if (one[0] === 'i') {
      const [, at, entries, subject] = one;
      return { kind: 'index', ...blob(at), entries: entries.map(entry), ...subjectOf(subject) };
    }
    return readConfig(one, texts);
  };
  return {
    tags: new Map(tags.map(([tag, at]) => [tag, digest(at)])),
    documents: new Map(documents.map(read).map((one) => [one.digest, one])),
  };
}

function readConfig(
  [, at, created, platform, layers, steps]: Extract<PackedDocument, readonly ['c', ...unknown[]]>,
  texts: readonly string[],
): ConfigFacts {
  return {
    kind: 'config',
    digest: texts[at] as Digest,
    ...(created !== 0 && { created }),
    platform,
    diffIds: layers.map((one) => texts[one] as Digest),
    createdBy: steps.map((one) => texts[one] as string),
  };
}
