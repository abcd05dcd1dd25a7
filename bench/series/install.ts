/**
 * Lays out trees as `npm ci` installs them, from npm's cache and without running it: the packages that this platform takes,
 * their files with the modes that npm gives them, `.bin` links and the hidden lockfile.
 */
import { readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { BLANK, type Entry, type Inode, Tree } from '../../rechunk/tree.ts';
import { ancestorsOf, type Path, pathFromText } from '../../registry/path.ts';
import { unpackTar } from '../../registry/tarreader.ts';
import {
  hiddenLockfile,
  installedPackages,
  type LockedPackage,
  parseLockfile,
} from './lockfile.ts';
import type { ContentSpool } from './spool.ts';

/** Modes that npm gives whatever the tarball says: readable by all, writable by the owner. */
const MODE_SET = 0o644;
const MODE_MASK = 0o755;
const EXECUTABLE = 0o111;
const NS_PER_SECOND = 1_000_000_000n;

/** Where npm's cache keeps a tarball, by the first sha512 of its integrity. */
export function cachedTarball(cache: string, integrity: string): string {
  const [digest = ''] = integrity.split(' ').filter((part) => part.startsWith('sha512-'));
  const hex = Buffer.from(digest.slice('sha512-'.length), 'base64').toString('hex');
  return join(cache, '_cacache/content-v2/sha512', hex.slice(0, 2), hex.slice(2, 4), hex.slice(4));
}

/** A file of a package, path relative to its root. */
interface PackageFile {
  readonly path: string;
  readonly mode: number;
  readonly size: number;
  readonly sha256: string;
}

type Placed = Pick<Inode, 'type' | 'mode'> & Partial<Inode>;

/** An inode that is being laid out: owned by root, nothing in it. */
const NOTHING: Inode = { ...BLANK, type: 'file', mode: 0o644, layer: 0 };

/** A tree while it is laid out in `/app`; everything has one time, that of the installation. */
class Layout {
  readonly #inodes = new Map<Path, Inode>();
  readonly #mtime: bigint;
  readonly #spool: ContentSpool;

  constructor(spool: ContentSpool, date: number) {
    this.#spool = spool;
    this.#mtime = BigInt(date) * NS_PER_SECOND;
  }

  place(path: string, placed: Placed): void {
    this.#inodes.set(path as Path, { ...NOTHING, mtime: this.#mtime, ...placed });
  }

  write(path: string, content: Buffer): void {
    const sha256 = this.#spool.add(content);
    this.place(path, { type: 'file', mode: MODE_SET, size: content.length, sha256 });
  }

  /** Makes the programs of a package executable, with a link each in the `.bin` beside it; of two with one name the first stays. */
  linkPrograms(path: string, { bin = {} }: LockedPackage): void {
    const modules = path.slice(0, path.lastIndexOf('node_modules/') + 'node_modules'.length);
    for (const [name, file] of Object.entries(bin)) {
      const program = posix.normalize(`app/${path}/${file}`);
      const inode = this.#inodes.get(program as Path);
      const link = `app/${modules}/.bin/${name}`;
      if (!inode) continue;
      this.place(program, { ...inode, mode: inode.mode | EXECUTABLE });
      if (this.#inodes.has(link as Path)) continue;
      const target = posix.relative(`app/${modules}/.bin`, program);
      this.place(link, { type: 'symlink', mode: 0o777, target });
    }
  }

  finish(): Tree {
    for (const path of [...this.#inodes.keys()].flatMap(ancestorsOf)) {
      if (!this.#inodes.has(path)) this.place(path, { type: 'dir', mode: MODE_MASK });
    }
    const entries = [...this.#inodes].map(([path, inode]): Entry => ({ path, inode }));
    return new Tree(entries, this.#spool);
  }
}

/** Installs from npm's cache; each tarball is unpacked once. */
export class Installer {
  readonly #cache: string;
  readonly #spool: ContentSpool;
  readonly #known = new Map<string, readonly PackageFile[]>();

  /** Every tarball that lockfiles name must be in `cache`; contents go to `spool`. */
  constructor(cache: string, spool: ContentSpool) {
    this.#cache = cache;
    this.#spool = spool;
  }

  /** The application of `manifest` (a package.json) in `/app` with what `lockfile` names, owned by root, of one time. */
  async install(manifest: Buffer, lockfile: Buffer, date: number): Promise<Tree> {
    const lock = parseLockfile(lockfile);
    const installed = installedPackages(lock);
    const layout = new Layout(this.#spool, date);
    layout.write('app/package.json', manifest);
    layout.write('app/package-lock.json', lockfile);
    const hidden = Buffer.from(hiddenLockfile(lock, installed));
    layout.write('app/node_modules/.package-lock.json', hidden);
    const packages = [...installed].map((path) => [path, lock.packages[path] as LockedPackage]);
    for (const [path, locked] of packages as [string, LockedPackage][]) {
      if (locked.inBundle) continue;
      for (const file of await this.#filesOf(locked.integrity as string)) {
        const { mode, size, sha256 } = file;
        layout.place(`${pathFromText(`app/${path}`)}/${file.path}`, {
          type: 'file',
          mode,
          size,
          sha256,
        });
      }
    }
    for (const [path, locked] of packages as [string, LockedPackage][]) {
      layout.linkPrograms(path, locked);
    }
    return layout.finish();
  }

  /** As npm unpacks: the first part of each path dropped, links left out. */
  async #filesOf(integrity: string): Promise<readonly PackageFile[]> {
    const known = this.#known.get(integrity);
    if (known) return known;
    const archive = gunzipSync(await readFile(cachedTarball(this.#cache, integrity)));
    const files = new Map<string, PackageFile>();
    for (const { entry, content } of unpackTar(archive)) {
      const slash = entry.path.indexOf('/');
      if (entry.type !== 'file' || slash < 0) continue;
      const path = entry.path.slice(slash + 1);
      const mode = (entry.mode | MODE_SET) & MODE_MASK;
      files.set(path, { path, mode, size: content.length, sha256: this.#spool.add(content) });
    }
    this.#known.set(integrity, [...files.values()]);
    return [...files.values()];
  }
}
