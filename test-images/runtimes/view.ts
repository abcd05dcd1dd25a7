/** The file system that a container of an image sees, as read from a real mount: one shape for every runtime. */
import { fileURLToPath } from 'node:url';
import { command } from '../command.ts';
import type { Sandbox } from './sandbox.ts';

/** What a view holds at one path. */
export interface ViewEntry {
  /** `dangling`: the name is listed and cannot be looked at. All its other facts are 0 or empty then. */
  readonly type: 'file' | 'dir' | 'symlink' | 'char' | 'block' | 'fifo' | 'socket' | 'dangling';
  /** Permission bits with set-id and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since the epoch. */
  readonly mtimeNs: bigint;
  /** Values in lower-case hex by whole name (`user.a`), as root sees them; names have one char a byte. */
  readonly xattrs: ReadonlyMap<string, string>;
  /** Bytes; of files. */
  readonly size?: number;
  /** Of symlinks; one char a byte. */
  readonly target?: string;
  /** Major and minor number; of devices. */
  readonly device?: readonly [number, number];
}

/** What a runtime makes of an image. */
export interface MergedView {
  /** The runtime's own words where it refuses the image; there are no entries then. */
  readonly refused?: string;
  /** Nanoseconds since the epoch: times at or after it were taken from the clock while unpacking. */
  readonly sinceNs: bigint;
  /** By path without slashes at its ends, one char a byte; the root is ''. */
  readonly entries: ReadonlyMap<string, ViewEntry>;
}

const NONE = { mode: 0, uid: 0, gid: 0, mtimeNs: 0n, xattrs: new Map<string, string>() };

/** A runtime's refusal of an image; the message is its own words. Any other error is trouble with the set-up. */
export class Refused extends Error {}

/** What `working` gives; an error of it is the runtime's refusal where its words are `like` this. */
export function asked<Result>(working: Promise<Result>, like: RegExp = /./): Promise<Result> {
  return working.catch((error: Error) => {
    if (!like.test(error.message)) throw error;
    throw new Refused(error.message, { cause: error });
  });
}

/** Looks at the one image of an OCI layout; throws `Refused` where the runtime does not take it. */
export type Look = (layout: string) => Promise<Map<string, ViewEntry>>;

const READER = fileURLToPath(new URL('view.py', import.meta.url));

function parseView(printed: string): Map<string, ViewEntry> {
  const lines = printed.split('\n').filter((line) => line !== '');
  return new Map(
    lines.map((line) => {
      const { path, mtimeNs, xattrs, ...rest } = JSON.parse(line);
      if (rest.type === 'dangling') return [path, { ...NONE, type: rest.type }];
      const values = new Map<string, string>(Object.entries(xattrs));
      return [path, { ...rest, mtimeNs: BigInt(mtimeNs), xattrs: values }];
    }),
  );
}

/** Who owns what belongs to nobody in a user namespace. */
const NOBODY = 65_534;

/** The entries of the tree that the sandbox has at `root`, with the owners that it sees. Needs root. */
export async function readView(
  { outside, firstId }: Sandbox,
  root: string,
): Promise<Map<string, ViewEntry>> {
  // Without what is installed beside it, Python starts in two thirds of the time.
  const python = ['-I', '-S', READER, outside(root)];
  const entries = parseView((await command('python3', python)).toString());
  if (firstId === 0) return entries;
  const inside = (id: number): number => (id < firstId ? NOBODY : id - firstId);
  const map = (entry: ViewEntry): ViewEntry => ({
    ...entry,
    uid: inside(entry.uid),
    gid: inside(entry.gid),
  });
  return new Map([...entries].map(([path, entry]) => [path, map(entry)]));
}
