/** Dates of Debian changelogs (deb-changelog(5)): when the content of a source package changed. */
import { gunzipSync } from 'node:zlib';
import { nameOf } from '../../registry/path.ts';
import type { Inode, Tree } from '../tree.ts';

/** Largest changelog that is read, bytes, compressed and not; the kernel's has 10 MiB. */
const SIZE_LIMIT: number = 64 << 20;
/** The line that ends an entry; two blanks come before the date. */
const TRAILER =
  /^ -- .*> {1,2}(?:[A-Z][a-z]{2}, +)?(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)/gm;
const MONTHS = 'JanFebMarAprMayJunJulAugSepOctNovDec';
const MONTH_CHARS = 3;
const SECONDS_PER_MINUTE = 60;
const MS_PER_SECOND = 1000;

/** The dates of all entries, seconds since the epoch, in the order of the text; what is no date is passed over. */
export function parseChangelog(text: string): number[] {
  return [...text.matchAll(TRAILER)].flatMap((match) => {
    const [, day, month, year, hour, minute, second, sign, zoneHours, zoneMinutes] = match;
    const monthIndex = MONTHS.indexOf(month as string) / MONTH_CHARS;
    if (!Number.isInteger(monthIndex) || monthIndex < 0) return [];
    const local = Date.UTC(
      ...([year, monthIndex, day, hour, minute, second].map(Number) as [number, number]),
    );
    const zone = (Number(zoneHours) * 60 + Number(zoneMinutes)) * SECONDS_PER_MINUTE;
    return [local / MS_PER_SECOND - (sign === '-' ? -zone : zone)];
  });
}

/** The dates of changelogs that were read, by inode: the packages of a source share theirs by symlink or hard link. */
export type KnownTimes = Map<Inode, readonly number[]>;

/**
 * The dates in the changelogs of an installed package: of a rebuild for one architecture and the one shared by all, or
 * else a native package's. Empty where there are none: many images are made without documentation. What was read is added
 * to `known`, and not read again.
 */
export async function changelogTimes(
  tree: Tree,
  name: string,
  known: KnownTimes,
): Promise<number[]> {
  const directory = tree.resolve(`usr/share/doc/${name}`, 'all');
  if (directory === undefined) return [];
  const names = tree.list(directory);
  const debian = names.filter((path) => /^changelog\.Debian(\..+)?$/.test(nameOf(path)));
  const native = names.filter((path) => /^changelog(\.gz)?$/.test(nameOf(path)));
  const times: number[] = [];
  for (const path of debian.length > 0 ? debian : native) {
    const resolved = tree.resolve(path, 'all');
    const inode = resolved === undefined ? undefined : tree.get(resolved);
    if (inode?.type !== 'file' || inode.size > SIZE_LIMIT) continue;
    const read = known.get(inode) ?? parseChangelog(await text(tree, path));
    known.set(inode, read);
    for (const time of read) times.push(time);
  }
  return times;
}

/** The text of a changelog; '' for one that is damaged, which costs some dates and no more. */
async function text(tree: Tree, path: string): Promise<string> {
  const stored = (await tree.read(path)) as Buffer;
  if (!path.endsWith('.gz')) return stored.toString('latin1');
  try {
    return gunzipSync(stored, { maxOutputLength: SIZE_LIMIT }).toString('latin1');
  } catch {
    return '';
  }
}
