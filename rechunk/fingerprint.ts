/**
 * Short digests of what components and layers hold, by which "as it was" is told from "changed" without anything being written.
 */
import { createHash, type Hash } from 'node:crypto';
import { type Path, parentOf } from '../registry/path.ts';
import type { Component } from './components.ts';
import { LAYER_FORMAT } from './layer.ts';
import { type Entry, type Inode, isDefined, type Tree } from './tree.ts';

/** Digits (base64url) of a component's digest, 36 bits for content and 36 for times: to tell what changed, not to prove anything. */
export const DIGEST_DIGITS = 12;
/** The first digits of a component's digest, which are of everything but times. */
export const CONTENT_DIGITS = 6;
/** Hex digits of a layer's fingerprint: 128 bits, since a user may trust it in place of the layer's bytes. */
export const FINGERPRINT_DIGITS = 32;

/** Pieces of text that are digested at once: a call takes longer than the digest of a line. */
const TEXT_PIECES = 4096;

/** A digest of text, one char a byte. Pieces are not joined one by one: what that leaves behind is more than the text. */
class TextHash {
  readonly #hash: Hash = createHash('sha256');
  readonly #pieces = new Array<string | number | bigint>(TEXT_PIECES);
  #count = 0;

  add(...pieces: readonly (string | number | bigint)[]): void {
    if (this.#count + pieces.length > TEXT_PIECES) this.#flush();
    for (const piece of pieces) this.#pieces[this.#count++] = piece;
  }

  digest(encoding: 'hex' | 'base64url'): string {
    this.#flush();
    return this.#hash.digest(encoding);
  }

  #flush(): void {
    const text = this.#pieces.slice(0, this.#count).join('');
    this.#hash.update(text, 'latin1');
    this.#count = 0;
  }
}

/** What JSON writes in another way than it is, and some more. */
const SPECIAL = /["\\\x00-\x1f\x7f]/;

/** `text` as it stands in a JSON string; most of it is as it is, and found to be much sooner than written. */
function escaped(text: string): string {
  return SPECIAL.test(text) ? JSON.stringify(text).slice(1, -1) : text;
}

/** Adds all of an entry that is written but its time, as a line of JSON; one char a byte. */
function addEntry(hash: TextHash, { path, inode }: Entry, link: string): void {
  const { type, mode, uid, gid, size, target, devMajor, devMinor, sha256 } = inode;
  hash.add('["', escaped(path), '","', type, '",', mode, ',', uid, ',', gid, ',', size, ',"');
  hash.add(escaped(target), '",', devMajor, ',', devMinor, ',"', sha256, '",');
  hash.add(describeXattrs(inode), ',"', escaped(link), '"]\n');
}

/** Sorted as in the tar: sources list them in any order. */
function describeXattrs({ xattrs }: Inode): string {
  if (xattrs.size === 0) return '[]';
  const described = [...xattrs]
    .map(([name, value]) => [name, Buffer.from(value).toString('hex')] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(described);
}

/** What a component holds, in base64url. */
interface ComponentDigests {
  /** Of every name's metadata and content. */
  readonly content: string;
  /** Of every name's time. */
  readonly times: string;
}

/** Components are asked for more than once. */
const DIGESTS = new WeakMap<Component, ComponentDigests>();

/** A short digest of a component: every name's metadata and content, then every name's time, as they are written. */
export function digestComponent(component: Component): string {
  const { content, times } = digestsOf(component);
  return content.slice(0, CONTENT_DIGITS) + times.slice(0, DIGEST_DIGITS - CONTENT_DIGITS);
}

function digestsOf(component: Component): ComponentDigests {
  const known = DIGESTS.get(component);
  if (known) return known;
  const digests = makeDigests(component);
  DIGESTS.set(component, digests);
  return digests;
}

function makeDigests(component: Component): ComponentDigests {
  const content = new TextHash();
  const times = new TextHash();
  // A hard-link group is whole in one component.
  const first = new Map<Inode, Path>();
  for (const entry of component.entries) {
    const known = first.get(entry.inode);
    if (known === undefined) first.set(entry.inode, entry.path);
    addEntry(content, entry, known ?? '');
    times.add(entry.inode.mtime, ' ');
  }
  return { content: content.digest('base64url'), times: times.digest('base64url') };
}

/**
 * A digest of all that decides the bytes of a layer's tar: its entries in canonical order with their parents, hard links, and
 * the layer format. Equal fingerprints mean equal diffIDs.
 */
export function fingerprintLayer(tree: Tree, entries: Iterable<Entry>): string {
  const hash = new TextHash();
  hash.add(`format ${LAYER_FORMAT}\n`);
  for (const entry of entries) {
    const first = tree.links.get(entry.inode)?.[0];
    const link = first === undefined || first === entry.path ? '' : first;
    hash.add(entry.inode.mtime, ' ');
    addEntry(hash, entry, link);
  }
  return hash.digest('hex').slice(0, FINGERPRINT_DIGITS);
}

/**
 * A digest of all that decides the entries of a layer that holds `components` of `tree` and every directory that leads to them: made
 * of the components' digests, which are known by then, so much sooner than a fingerprint. Equal ones mean equal fingerprints.
 */
export function digestContent(tree: Tree, components: readonly Component[]): string {
  const hash = new TextHash();
  hash.add(`format ${LAYER_FORMAT}\n`);
  const directories = new Set<Path>(['' as Path]);
  for (const component of components) {
    const { content, times } = digestsOf(component);
    hash.add(content, ' ', times, '\n');
    let last: Path | undefined;
    for (const { path } of component.entries) {
      let parent = parentOf(path);
      if (parent === last) continue;
      last = parent;
      for (; !directories.has(parent); parent = parentOf(parent)) directories.add(parent);
    }
  }
  for (const path of directories) {
    const inode = tree.get(path);
    if (!inode || !isDefined(path, inode)) continue;
    hash.add(inode.mtime, ' ');
    addEntry(hash, { path, inode }, '');
  }
  return hash.digest('hex');
}
