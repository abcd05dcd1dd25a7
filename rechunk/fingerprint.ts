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

/** All of an entry that is written but its time, as a line; one char a byte. */
function describeEntry({ path, inode }: Entry, link: string): string {
  const { type, mode, uid, gid, size, target, devMajor, devMinor, sha256 } = inode;
  // Sorted as in the tar: sources list them in any order.
  const xattrs = [...inode.xattrs]
    .map(([name, value]) => [name, Buffer.from(value).toString('hex')] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const fields = [path, type, mode, uid, gid, size, target, devMajor, devMinor, sha256];
  return `${JSON.stringify([...fields, xattrs, link])}\n`;
}

/** A short digest of a component: every name's metadata and content, then every name's time, as they are written. */
export function digestComponent(component: Component): string {
  const content = createHash('sha256');
  const times = createHash('sha256');
  // A hard-link group is whole in one component.
  const first = new Map<Inode, Path>();
  for (const entry of component.entries) {
    const known = first.get(entry.inode);
    if (known === undefined) first.set(entry.inode, entry.path);
    content.update(describeEntry(entry, known ?? ''), 'latin1');
    times.update(`${entry.inode.mtime} `);
  }
  const digits = (hash: Hash): string => hash.digest('base64url').slice(0, CONTENT_DIGITS);
  return digits(content) + digits(times);
}

/**
 * A digest of all that decides the bytes of a layer's tar: its entries in canonical order with their parents, hard links, and
 * the layer format. Equal fingerprints mean equal diffIDs.
 */
export function fingerprintLayer(tree: Tree, entries: Iterable<Entry>): string {
  const hash = createHash('sha256').update(`format ${LAYER_FORMAT}\n`);
  for (const entry of entries) {
    const first = tree.links.get(entry.inode)?.[0];
    const link = first === undefined || first === entry.path ? '' : first;
    hash.update(`${entry.inode.mtime} `).update(describeEntry(entry, link), 'latin1');
  }
  return hash.digest('hex').slice(0, FINGERPRINT_DIGITS);
}
