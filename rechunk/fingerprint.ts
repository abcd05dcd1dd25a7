/**
 * Short digests of what components and layers hold, by which "as it was" is told from "changed" without anything being written.
 */
import { createHash, type Hash } from 'node:crypto';
import type { Path } from '../registry/path.ts';
import type { Component } from './components.ts';
import { LAYER_FORMAT } from './layer.ts';
import type { Entry, Inode, Tree } from './tree.ts';

/** Digits (base64url) of a component's digest, 36 bits for content and 36 for times: to tell what changed, not to prove anything. */
export const DIGEST_DIGITS = 12;
/** The first digits of a component's digest, which are of everything but times. */
export const CONTENT_DIGITS = 6;
/** Hex digits of a layer's fingerprint: 128 bits, since a user may trust it in place of the layer's bytes. */
export const FINGERPRINT_DIGITS = 32;

/** Chars of text that are digested at once: a call takes longer than the digest of a line. */
const TEXT_CHARS = 1 << 16;

/** A digest of text, one char a byte. */
class TextHash {
  readonly #hash: Hash = createHash('sha256');
  #text = '';

  add(text: string): void {
    this.#text += text;
    if (this.#text.length >= TEXT_CHARS) this.#flush();
  }

  digest(encoding: 'hex' | 'base64url'): string {
    this.#flush();
    return this.#hash.digest(encoding);
  }

  #flush(): void {
    this.#hash.update(this.#text, 'latin1');
    this.#text = '';
  }
}

/** What JSON writes in another way than it is, and some more. */
const SPECIAL = /["\\\x00-\x1f\x7f]/;

/** `text` as JSON has it; most of it is as it stands, and found to be much sooner than written. */
function quote(text: string): string {
  return SPECIAL.test(text) ? JSON.stringify(text) : `"${text}"`;
}

/** All of an entry that is written but its time, as a line of JSON; one char a byte. */
function describeEntry({ path, inode }: Entry, link: string): string {
  const { type, mode, uid, gid, size, target, devMajor, devMinor, sha256 } = inode;
  const numbers = `${mode},${uid},${gid},${size},${quote(target)},${devMajor},${devMinor}`;
  const rest = `"${sha256}",${describeXattrs(inode)},${quote(link)}`;
  return `[${quote(path)},"${type}",${numbers},${rest}]\n`;
}

/** Sorted as in the tar: sources list them in any order. */
function describeXattrs({ xattrs }: Inode): string {
  if (xattrs.size === 0) return '[]';
  const described = [...xattrs]
    .map(([name, value]) => [name, Buffer.from(value).toString('hex')] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(described);
}

/** A short digest of a component: every name's metadata and content, then every name's time, as they are written. */
export function digestComponent(component: Component): string {
  const content = new TextHash();
  const times = new TextHash();
  // A hard-link group is whole in one component.
  const first = new Map<Inode, Path>();
  for (const entry of component.entries) {
    const known = first.get(entry.inode);
    if (known === undefined) first.set(entry.inode, entry.path);
    content.add(describeEntry(entry, known ?? ''));
    times.add(`${entry.inode.mtime} `);
  }
  const digits = (hash: TextHash): string => hash.digest('base64url').slice(0, CONTENT_DIGITS);
  return digits(content) + digits(times);
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
    hash.add(`${entry.inode.mtime} `);
    hash.add(describeEntry(entry, link));
  }
  return hash.digest('hex').slice(0, FINGERPRINT_DIGITS);
}
