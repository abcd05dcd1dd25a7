/**
 * Series `debian-year`: the newest system of series `debian`, replayed over the year before it by the days in its packages'
 * changelogs, a release a week.
 *
 * Real are the system, its sizes and the days. Modelled is what a change was: an older state has the same files with the
 * same sizes, and other content where the source's last real update (in series `debian`) changed content; where no two
 * versions could be had, in all programs and libraries (ELF) and in the Debian changelog. Files of the build's own day have
 * the day of that changelog entry as their time. dpkg's list of digests changes with its package, the status file with every
 * release that has a change.
 */
import { createHash } from 'node:crypto';
import { dpkg } from '../../rechunk/repos/dpkg.ts';
import { type Entry, type Inode, Tree } from '../../rechunk/tree.ts';
import type { Path } from '../../registry/path.ts';
import type { Deb } from './deb.ts';
import { readNewest } from './debian.ts';
import { DATABASE, infoName, layOutSystem } from './debroot.ts';
import { Recorder } from './record.ts';
import { type ComponentFacts, loadSeries, type Release } from './series.ts';
import { type ContentSpool, withSpool } from './spool.ts';

const WEEKS = 53;
const WEEK_SECONDS = 7 * 86_400;
const MS_PER_SECOND = 1000;
const NS_PER_SECOND = 1_000_000_000n;
const ELF_MAGIC = Buffer.from('\x7fELF', 'latin1');
/** Debian's changelog; a native package, which has none beside its own, calls it as others call that of their authors. */
const CHANGELOG = /^usr\/share\/doc\/[^/]+\/changelog\.Debian(\.[^/]+)?\.gz$/;
const NATIVE_CHANGELOG = /^usr\/share\/doc\/[^/]+\/changelog\.gz$/;

/** The states of a source over the year; the last one is real. */
interface SourceYear {
  /** Releases, by number, that brought each state but the first. */
  readonly weeks: readonly number[];
  /** The changelog entry of each state, seconds. */
  readonly times: readonly number[];
  /** Paths whose content every change changes. */
  readonly changed: ReadonlySet<string>;
  /** When the newest files were made, ns. */
  readonly built: bigint;
}

const stateAt = ({ weeks }: SourceYear, week: number): number =>
  weeks.filter((changed) => changed <= week).length;

/** Paths whose content the last update of a component changed; undefined where it had none. */
function lastChange(id: string, releases: readonly Release[]): Set<string> | undefined {
  const states = [...new Set(releases.flatMap(({ components }) => components.get(id) ?? []))];
  const [before, after] = states.slice(-2);
  if (!before || !after) return undefined;
  const old = new Map(before.files.map(({ path, content }) => [path, content]));
  const changed = after.files.filter(({ path, content }) => (old.get(path) ?? content) !== content);
  return new Set(changed.map(({ path }) => path));
}

/** What a rebuild surely changes. */
function compiledFiles({ files }: ComponentFacts, tree: Tree, spool: ContentSpool): Set<string> {
  const isElf = (path: string): boolean => {
    const { sha256 } = tree.get(path as Path) as Inode;
    return spool.get(sha256).subarray(0, ELF_MAGIC.length).equals(ELF_MAGIC);
  };
  const paths = files.filter(({ content }) => content !== '').map(({ path }) => path);
  const changelog = paths.some((path) => CHANGELOG.test(path)) ? CHANGELOG : NATIVE_CHANGELOG;
  return new Set(paths.filter((path) => changelog.test(path) || isElf(path)));
}

function yearOf(state: ComponentFacts, first: number, changed: ReadonlySet<string>): SourceYear {
  const weekly = new Map<number, number>();
  let before = 0;
  for (const time of state.changeTimes ?? []) {
    const week = Math.ceil((time - first) / WEEK_SECONDS);
    if (week <= 0) before = time;
    else if (week < WEEKS) weekly.set(week, time);
  }
  const built = Math.max(...state.files.map(({ mtime = 0 }) => mtime));
  return {
    weeks: [...weekly.keys()],
    times: [before, ...weekly.values()],
    changed,
    built: BigInt(built) * NS_PER_SECOND,
  };
}

/** The system as it was in earlier weeks. */
class Replay {
  readonly #newest: Tree;
  readonly #installed: bigint;
  readonly #spool: ContentSpool;
  readonly #years = new Map<string, SourceYear>();
  readonly #owners = new Map<string, string>();

  /** `date`, seconds, is the moment of installation in `newest`. */
  constructor(newest: Tree, date: number, spool: ContentSpool) {
    this.#newest = newest;
    this.#installed = BigInt(date) * NS_PER_SECOND;
    this.#spool = spool;
  }

  addSource(state: ComponentFacts, year: SourceYear, debs: readonly Deb[]): void {
    this.#years.set(state.id, year);
    for (const { path } of state.files) this.#owners.set(path, state.id);
    for (const deb of debs) this.#owners.set(`${DATABASE}/info/${infoName(deb)}.md5sums`, state.id);
  }

  /** The tree of a week; `date` is the moment of its installation. */
  at(week: number, date: number): Tree {
    const inodes = new Map<Inode, Inode>();
    const entries = this.#newest.entries.map(({ path, inode }): Entry => {
      const known = inodes.get(inode) ?? this.#inodeAt(path, inode, week, date);
      inodes.set(inode, known);
      return { path, inode: known };
    });
    return new Tree(entries, this.#spool);
  }

  #inodeAt(path: string, inode: Inode, week: number, date: number): Inode {
    const isStamped = inode.mtime === this.#installed;
    const installed = isStamped ? { ...inode, mtime: BigInt(date) * NS_PER_SECOND } : inode;
    if (path === `${DATABASE}/status`) return this.#older(installed, this.#updates(week));
    const year = this.#years.get(this.#owners.get(path) ?? '');
    const left = year ? year.weeks.length - stateAt(year, week) : 0;
    if (!year || left === 0) return installed;
    const dated = this.#dated(installed, year, week);
    return isStamped || year.changed.has(path) ? this.#older(dated, left) : dated;
  }

  /** Weeks after `week` in which anything changed. */
  #updates(week: number): number {
    const weeks = new Set([...this.#years.values()].flatMap((year) => year.weeks));
    return [...weeks].filter((changed) => changed > week).length;
  }

  /** Files that the build made have the time of the changelog entry. */
  #dated(inode: Inode, year: SourceYear, week: number): Inode {
    if (inode.mtime !== year.built) return inode;
    return { ...inode, mtime: BigInt(year.times[stateAt(year, week)] as number) * NS_PER_SECOND };
  }

  /** Other content of the same size, `steps` changes ago. */
  #older(inode: Inode, steps: number): Inode {
    if (inode.type !== 'file' || steps === 0) return inode;
    const sha256 = createHash('sha256').update(`${inode.sha256} ${steps}`).digest('hex');
    this.#spool.alias(sha256, inode.sha256);
    return { ...inode, sha256 };
  }
}

/** Changelogs say nothing of days that were still to come. */
function withoutFuture(releases: readonly Release[]): Release[] {
  const known = new Map<ComponentFacts, ComponentFacts>();
  return releases.map(({ name, date, components }) => {
    const past = [...components.values()].map((state) => {
      const changeTimes = state.changeTimes?.filter((time) => time <= date);
      const cut = known.get(state) ?? { ...state, ...(changeTimes && { changeTimes }) };
      known.set(state, cut);
      return cut;
    });
    return { name, date, components: new Map(past.map((state) => [state.id, state])) };
  });
}

async function recordDebianYear(work: string, spool: ContentSpool): Promise<Release[]> {
  const releases = await loadSeries('debian');
  const newest = await readNewest(work, spool);
  const last = releases.at(-1) as Release;
  const first = last.date - (WEEKS - 1) * WEEK_SECONDS;
  const tree = layOutSystem(newest, last.date, spool);
  const replay = new Replay(tree, last.date, spool);
  const sources = Map.groupBy(newest, ({ source }) => `dpkg:${source}`);
  for (const [id, debs] of sources) {
    const state = last.components.get(id);
    if (!state) continue;
    const changed = lastChange(id, releases) ?? compiledFiles(state, tree, spool);
    replay.addSource(state, yearOf(state, first, changed), debs);
  }
  const recorder = new Recorder([dpkg], (sha256) => spool.get(sha256));
  for (let week = 0; week < WEEKS; week++) {
    const date = first + week * WEEK_SECONDS;
    const name = new Date(date * MS_PER_SECOND).toISOString().slice(0, 10);
    await recorder.add(name, date, replay.at(week, date));
  }
  return withoutFuture(recorder.releases);
}

/** Makes the series from the stored series `debian`, whose `work` has the packages. */
export function makeDebianYear(work: string): Promise<Release[]> {
  return withSpool(work, (spool) => recordDebianYear(work, spool));
}
