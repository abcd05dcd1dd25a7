/** Turns the trees of releases into facts: which components they have, and what these weigh. */
import { createHash } from 'node:crypto';
import { constants as zlib, zstdCompressSync } from 'node:zlib';
import { assign, detectAll } from '../../rechunk/assign.ts';
import type { Component, ComponentRepo } from '../../rechunk/components.ts';
import type { Entry, Inode, Tree } from '../../rechunk/tree.ts';
import { DEFAULT_LEVEL, ZSTD_FRAME_SIZE } from '../../registry/compress.ts';
import { NO_XATTRS } from '../../registry/tar.ts';
import { packTar, type TarItem } from '../../registry/tarwriter.ts';
import { type ComponentFacts, type FileFacts, isSameFile, type Release } from './series.ts';

/** Reads the content of a file by its sha256. */
export type ReadContent = (sha256: string) => Buffer;

const NS_PER_SECOND = 1_000_000_000n;
/** Hex digits of a sha256 that tell contents apart: 64 bits. */
const DIGEST_DIGITS = 16;

/** Bytes that `data` takes as a layer would have it: zstd in frames, at the level that is the default. */
function compressedSizeOf(data: Buffer): number {
  const params = { [zlib.ZSTD_c_compressionLevel]: DEFAULT_LEVEL.zstd };
  let size = 0;
  for (let at = 0; at === 0 || at < data.length; at += ZSTD_FRAME_SIZE) {
    size += zstdCompressSync(data.subarray(at, at + ZSTD_FRAME_SIZE), { params }).length;
  }
  return size;
}

function describeXattrs({ xattrs }: Inode): string {
  const hash = createHash('sha256');
  for (const [key, value] of [...xattrs].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${key}\0${value.length}\0`).update(value);
  }
  return hash.digest('hex').slice(0, DIGEST_DIGITS);
}

/** All metadata but times as a line that people can read; `first` is the first name of a hard-link group. */
function describeMetadata(path: string, inode: Inode, first: string): string {
  const { type, mode, uid, gid, target, devMajor, devMinor, xattrs } = inode;
  const parts = [type, mode.toString(8), `${uid}:${gid}`];
  if (first !== path) parts.push(`link=${first}`);
  if (type === 'symlink') parts.push(`-> ${target}`);
  if (type === 'char' || type === 'block') parts.push(`${devMajor},${devMinor}`);
  if (xattrs.size > 0) parts.push(`xattrs=${describeXattrs(inode)}`);
  return parts.join(' ');
}

const firstNameOf = (tree: Tree, { path, inode }: Entry): string =>
  tree.links.get(inode)?.[0] ?? path;

function keyOf(component: Component, files: readonly FileFacts[]): string {
  const { id, packages, changeTimes } = component;
  const facts = files.map(({ path, content, metadata, mtime }) => [path, content, metadata, mtime]);
  const text = JSON.stringify([id, packages, changeTimes, facts]);
  return createHash('sha256').update(text).digest('hex');
}

/** Collects the releases of one series; states of components that were there before are measured no second time. */
export class Recorder {
  readonly releases: Release[] = [];
  readonly #repos: readonly ComponentRepo[];
  readonly #read: ReadContent;
  readonly #alone = new Map<string, number>();
  readonly #states = new Map<string, ComponentFacts>();
  readonly #latest = new Map<string, ComponentFacts>();

  /** Components are those that `repos` find. */
  constructor(repos: readonly ComponentRepo[], read: ReadContent) {
    this.#repos = repos;
    this.#read = read;
  }

  /** Adds a release; `date`, seconds, is also the time that stands for the moment of installation. Later ones come later. */
  async add(name: string, date: number, tree: Tree): Promise<void> {
    const { detections } = await detectAll(tree, this.#repos, { strict: true });
    const { components } = await assign(tree, detections);
    const states = components.map((component) => this.#stateOf(tree, component, date));
    for (const state of states) this.#latest.set(state.id, state);
    this.releases.push({ name, date, components: new Map(states.map((s) => [s.id, s])) });
  }

  #stateOf(tree: Tree, component: Component, date: number): ComponentFacts {
    const files = component.entries.map((entry) => this.#factsOf(tree, entry, date));
    const key = keyOf(component, files);
    const known = this.#states.get(key);
    if (known) return known;
    const { id, kind, packages, changeTimes } = component;
    const compressedSize = this.#measure(tree, component.entries);
    const state: ComponentFacts = {
      id,
      kind,
      ...(packages && { packages }),
      ...(changeTimes && { changeTimes }),
      files,
      size: component.size,
      compressedSize,
      changedSize: this.#measureChanged(tree, component, files) ?? compressedSize,
    };
    this.#states.set(key, state);
    return state;
  }

  #factsOf(tree: Tree, entry: Entry, date: number): FileFacts {
    const { path, inode } = entry;
    const first = firstNameOf(tree, entry);
    const seconds = Number(inode.mtime / NS_PER_SECOND);
    const hasContent = inode.type === 'file' && first === path;
    return {
      path,
      content: hasContent ? inode.sha256.slice(0, DIGEST_DIGITS) : '',
      size: hasContent ? inode.size : 0,
      compressedSize: hasContent ? this.#measureAlone(inode.sha256) : 0,
      metadata: describeMetadata(path, inode, first),
      ...(seconds !== date && { mtime: seconds }),
    };
  }

  #measureAlone(sha256: string): number {
    const known = this.#alone.get(sha256);
    if (known !== undefined) return known;
    const size = compressedSizeOf(this.#read(sha256));
    this.#alone.set(sha256, size);
    return size;
  }

  #measure(tree: Tree, entries: readonly Entry[]): number {
    return compressedSizeOf(packTar(entries.map((entry) => this.#itemOf(tree, entry))));
  }

  /** Of the files that the component's previous state had not; undefined where there was no such state. */
  #measureChanged(
    tree: Tree,
    { id, entries }: Component,
    files: readonly FileFacts[],
  ): number | undefined {
    const previous = this.#latest.get(id);
    if (!previous) return undefined;
    const before = new Map(previous.files.map((file) => [file.path, file]));
    const changed = entries.filter((_, i) => {
      const file = files[i] as FileFacts;
      const old = before.get(file.path);
      return !old || !isSameFile(file, old);
    });
    return changed.length === 0 ? 0 : this.#measure(tree, changed);
  }

  #itemOf(tree: Tree, entry: Entry): TarItem {
    const { path, inode } = entry;
    const first = firstNameOf(tree, entry);
    const { type, mode, uid, gid, mtime, target, devMajor, devMinor, xattrs } = inode;
    const shared = { path, mode, uid, gid, mtime, xattrs: xattrs ?? NO_XATTRS };
    if (first !== path) return { ...shared, type: 'link', link: first };
    const content = type === 'file' ? this.#read(inode.sha256) : '';
    return { ...shared, type, link: target, devMajor, devMinor, content };
  }
}
