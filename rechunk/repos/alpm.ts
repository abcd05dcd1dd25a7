/**
 * Components from the local database of ALPM (pacman, Arch Linux): one for each package base.
 *
 * `NAME-VERSION/desc` says what a package is, `files` which paths it has, `mtree` what they held when it was built.
 * Source: alpm-repo-db and alpm-mtree manuals (alpm.archlinux.page), libalpm 6.0.2 lib/libalpm/be_local.c,
 * mtree(5) of libarchive 3.7.
 */
import { gunzipSync } from 'node:zlib';
import { RechunkError } from '../../registry/errors.ts';
import { joinPath, nameOf, type Path, showPath } from '../../registry/path.ts';
import type { Claim, ComponentInfo, ComponentRepo, Detection } from '../components.ts';
import type { Tree } from '../tree.ts';

/** pacman's DBPath where its configuration names none, and where immutable variants put it. */
const DATABASES = [
  'var/lib/pacman',
  'usr/lib/pacman',
  'usr/share/pacman',
  'usr/lib/sysimage/pacman',
  'usr/lib/sysimage/lib/pacman',
];
const CONFIG = 'etc/pacman.conf';
/** Largest `mtree`, uncompressed bytes: some 500,000 files. */
const MTREE_LIMIT: number = 128 << 20;
const SECONDS_PER_DAY = 86_400;

/** What an mtree says of one path. */
export interface MtreeEntry {
  readonly type?: string;
  /** Bytes. */
  readonly size?: number;
  readonly md5?: string;
  readonly sha256?: string;
  /** A symlink's target, one char a byte. */
  readonly link?: string;
}

/** An installed package. */
interface AlpmPackage {
  readonly name: string;
  /** `[epoch:]version-release`. */
  readonly version: string;
  readonly base: string;
  readonly buildDate: number | undefined;
  readonly claims: readonly Claim[];
}

/** Sections `%KEY%` of a `desc` or `files` file with their lines, one char a byte; of a key that stands twice the last. */
export function parseSections(bytes: Buffer): Map<string, string[]> {
  const sections = new Map<string, string[]>();
  let lines: string[] = [];
  for (const line of bytes.toString('latin1').split('\n')) {
    const key = /^%([A-Z0-9]+)%$/.exec(line)?.[1];
    if (key === undefined && line !== '') lines.push(line);
    else lines = [];
    if (key !== undefined) sections.set(key, lines);
  }
  return sections;
}

const ESCAPES: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  s: ' ',
  t: '\t',
  v: '\v',
};

/** A word of an mtree without its escapes: `\040` is a byte, `\s` and the like stand for one. */
function decode(word: string): string {
  return word.replace(/\\([0-7]{3}|.)/gs, (_, code: string) =>
    code.length === 3 ? String.fromCharCode(parseInt(code, 8) & 0xff) : (ESCAPES[code] ?? code),
  );
}

type Keywords = ReadonlyMap<string, string>;

const keywordsOf = (words: readonly string[]): [string, string][] =>
  words.map((word) => {
    const equals = word.indexOf('=');
    return equals < 0 ? [word, ''] : [word.slice(0, equals), word.slice(equals + 1)];
  });

function entryOf(keywords: Keywords): MtreeEntry {
  const [type, link] = [keywords.get('type'), keywords.get('link')];
  const size = /^\d{1,15}$/.test(keywords.get('size') ?? '') ? Number(keywords.get('size')) : -1;
  const md5 = keywords.get('md5digest') ?? keywords.get('md5');
  const sha256 = keywords.get('sha256digest') ?? keywords.get('sha256');
  return {
    ...(type && { type }),
    ...(size >= 0 && { size }),
    ...(md5 && { md5: md5.toLowerCase() }),
    ...(sha256 && { sha256: sha256.toLowerCase() }),
    ...(link && { link: decode(link) }),
  };
}

/** The defaults after a line `/set` or `/unset`. */
function defaultsAfter(command: string, words: readonly string[], before: Keywords): Keywords {
  if (command === '/set') return new Map([...before, ...keywordsOf(words)]);
  if (words.includes('all')) return new Map();
  return new Map([...before].filter(([key]) => !words.includes(key)));
}

function gunzip(bytes: Buffer): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: MTREE_LIMIT });
  } catch (error) {
    throw new RechunkError('database', `unpacking it: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** Parses an mtree, gzipped or not, into entries by path (no leading `./`, one char a byte); throws `database`. */
export function parseMtree(bytes: Buffer): Map<string, MtreeEntry> {
  const zipped = bytes[0] === 0x1f && bytes[1] === 0x8b;
  const text = zipped ? gunzip(bytes) : bytes;
  const entries = new Map<string, MtreeEntry>();
  let defaults: Keywords = new Map();
  for (const line of text.toString('latin1').replaceAll('\\\n', ' ').split('\n')) {
    const [first, ...words] = line.split(/[ \t]+/).filter((word) => word !== '');
    if (!first || first.startsWith('#')) continue;
    if (first === '/set' || first === '/unset') defaults = defaultsAfter(first, words, defaults);
    else {
      const path = decode(first).replace(/^\.\//, '');
      entries.set(path, entryOf(new Map([...defaults, ...keywordsOf(words)])));
    }
  }
  return entries;
}

const TYPES: ReadonlyMap<string, 'file' | 'dir' | 'symlink'> = new Map([
  ['file', 'file'],
  ['dir', 'dir'],
  ['link', 'symlink'],
]);

function digestOf(entry: MtreeEntry): Pick<Claim, 'digest'> {
  if (/^[0-9a-f]{64}$/.test(entry.sha256 ?? '')) {
    return { digest: { algorithm: 'sha256', hex: entry.sha256 as string } };
  }
  if (!/^[0-9a-f]{32}$/.test(entry.md5 ?? '')) return {};
  return { digest: { algorithm: 'md5', hex: entry.md5 as string } };
}

/** The claim on `listed`, a line of `%FILES%`: directories end with a slash. */
function claimOf(listed: string, entry: MtreeEntry | undefined, component: string): Claim {
  const path = listed.replace(/\/$/, '');
  if (path !== listed) return { path, component, strength: 'owner', type: 'dir' };
  const type = TYPES.get(entry?.type ?? '');
  return {
    path,
    component,
    strength: 'owner',
    ...(type && { type }),
    ...(type === 'file' && entry?.size !== undefined && { size: entry.size }),
    ...(type === 'file' && entry && digestOf(entry)),
    ...(type === 'symlink' && entry?.link && { target: entry.link }),
  };
}

/** The names of packages and versions are ASCII by pacman's rules; what is not is shown as UTF-8. */
const textOf = (line: string | undefined): string =>
  Buffer.from(line ?? '', 'latin1').toString('utf8');

/** The `mtree` of a package; one that cannot be read is a warning, as is one that is missing. */
async function readMtree(
  tree: Tree,
  directory: Path,
  warnings: string[],
): Promise<ReadonlyMap<string, MtreeEntry>> {
  const path = joinPath(directory, 'mtree');
  const bytes = await tree.read(path);
  try {
    if (bytes) return parseMtree(bytes);
    warnings.push(`/${showPath(path)} is missing: files of its package are believed unseen`);
  } catch (error) {
    if (!(error instanceof RechunkError)) throw error;
    warnings.push(`reading /${showPath(path)}: ${error.message}`);
  }
  return new Map();
}

/** Reads the package in `directory`; undefined and a warning where nothing names it. */
async function readPackage(
  tree: Tree,
  directory: Path,
  warnings: string[],
): Promise<AlpmPackage | undefined> {
  const desc = await tree.read(joinPath(directory, 'desc'));
  const files = await tree.read(joinPath(directory, 'files'));
  const fields = desc && parseSections(desc);
  const name = textOf(fields?.get('NAME')?.[0]);
  if (!fields || !name) {
    warnings.push(`/${showPath(directory)} is left out: it has no desc that names a package`);
    return undefined;
  }
  if (!files) warnings.push(`/${showPath(directory)} has no list of files`);
  const base = textOf(fields.get('BASE')?.[0]) || name;
  const built = fields.get('BUILDDATE')?.[0] ?? '';
  const mtree = files ? await readMtree(tree, directory, warnings) : new Map<string, MtreeEntry>();
  const listed = (files && parseSections(files).get('FILES')) ?? [];
  return {
    name,
    version: textOf(fields.get('VERSION')?.[0]),
    base,
    buildDate: /^\d{1,12}$/.test(built) ? Number(built) : undefined,
    claims: listed.map((path) => claimOf(path, mtree.get(path), `alpm:${base}`)),
  };
}

/** pacman's DBPath: of `[options]`, the first one counts. */
async function configuredPath(tree: Tree): Promise<string | undefined> {
  const config = (await tree.read(CONFIG))?.toString('latin1');
  return config && /^[ \t]*DBPath[ \t]*=[ \t]*(\S.*?)[ \t\r]*$/m.exec(config)?.[1];
}

/** Directories `local` of databases, symlinks followed, each once. */
async function findDatabases(tree: Tree): Promise<Path[]> {
  const configured = await configuredPath(tree);
  const candidates = configured === undefined ? DATABASES : [configured, ...DATABASES];
  const found = candidates.map((path) => tree.resolve(`${path}/local`, 'all'));
  return [...new Set(found.filter((path) => path !== undefined))].filter(
    (path) => tree.get(path)?.type === 'dir',
  );
}

function infoOf(base: string, packages: readonly AlpmPackage[]): ComponentInfo {
  const built = packages.flatMap(({ buildDate }) => buildDate ?? []);
  const days = built.map((time) => time - (time % SECONDS_PER_DAY));
  return {
    id: `alpm:${base}`,
    kind: 'package',
    packages: [...new Set(packages.map(({ name, version }) => `${name}-${version}`))].sort(),
    changeTimes: [...new Set(days)].sort((a, b) => a - b),
    changesFrom: 'build',
  };
}

async function readDatabases(tree: Tree, warnings: string[]): Promise<AlpmPackage[]> {
  const packages: AlpmPackage[] = [];
  for (const database of await findDatabases(tree)) {
    for (const directory of tree.list(database)) {
      if (tree.get(directory)?.type !== 'dir' || nameOf(directory).startsWith('.')) continue;
      const found = await readPackage(tree, directory, warnings);
      if (found) packages.push(found);
    }
  }
  return packages;
}

async function detect(tree: Tree): Promise<Detection | undefined> {
  const warnings: string[] = [];
  const packages = await readDatabases(tree, warnings);
  if (packages.length === 0 && warnings.length === 0) return undefined;
  const byBase = Map.groupBy(packages, ({ base }) => base);
  return {
    repo: 'alpm',
    components: [...byBase]
      .map(([base, group]) => infoOf(base, group))
      .sort((a, b) => (a.id < b.id ? -1 : 1)),
    claims: packages.flatMap(({ claims }) => claims),
    warnings,
  };
}

/** The local database of pacman. Components are package bases (`alpm:glibc`), changed when they were built. */
export const alpm: ComponentRepo = {
  name: 'alpm',
  documents: /^etc\/pacman\.conf$|(?:^|\/)local\/[^/]+-[^/]+\/(?:desc|files|mtree)$/,
  detect,
};
