/**
 * Reads dpkg databases: `status` and `info/` (Debian, Ubuntu), or one stanza a file in `status.d` (distroless).
 *
 * Everything is read as lines of one char a byte; a stanza or line that makes no sense is passed over, never followed:
 * names that could be paths are refused.
 */
import { type Path, parentOf, showPath } from '../../registry/path.ts';
import type { Inode, Tree } from '../tree.ts';

/** A stanza of a control file: values by field name in lower case. */
export type Stanza = ReadonlyMap<string, string>;

/** A package that is unpacked in the tree. */
export interface DpkgPackage {
  readonly name: string;
  readonly version: string;
  /** The source package's name. */
  readonly source: string;
  /** The file with its stanza. */
  readonly stanza: Path;
  /** The absolute paths that it unpacked, directories too; absent where the database does not say. */
  readonly files?: readonly string[];
  /** md5 of regular files and configuration files as shipped, by absolute path. */
  readonly digests: ReadonlyMap<string, string>;
  /** Absolute paths of configuration files. */
  readonly conffiles: ReadonlySet<string>;
}

/** The packages of a database, and what was left out. */
export interface DpkgStatus {
  readonly packages: readonly DpkgPackage[];
  readonly warnings: readonly string[];
}

/** States in which files are unpacked: the third word of Status (dpkg(1)). */
const UNPACKED: readonly string[] = [
  'installed',
  'half-configured',
  'triggers-awaited',
  'triggers-pending',
  'unpacked',
];
/** Names of packages and architectures, wider than Policy 5.6.1, but never a path. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9+.~_-]*$/;
/** Longest list that several packages can have, bytes: of packages with next to no files, where equal files are one. */
const SHARED_LIST_BYTES = 512;
/** Files beside the stanzas in `status.d`. */
const BESIDE =
  /\.(md5sums|list|conffiles|preinst|postinst|prerm|postrm|triggers|shlibs|symbols|templates|config)$/;

/** Parses the stanzas of a control file (deb822(5)); lines that are no field are passed over. */
export function parseStanzas(text: string): Stanza[] {
  const stanzas: Map<string, string>[] = [new Map()];
  let name = '';
  for (const line of text.split('\n')) {
    const fields = stanzas.at(-1) as Map<string, string>;
    const field = /^([!-9;-~]+):[ \t]*(.*)$/.exec(line);
    if (line.trim() === '') {
      if (fields.size > 0) stanzas.push(new Map());
    } else if (field) {
      name = (field[1] as string).toLowerCase();
      fields.set(name, (field[2] as string).trimEnd());
    } else if (fields.has(name)) fields.set(name, `${fields.get(name)}\n${line}`);
  }
  return stanzas.filter(({ size }) => size > 0);
}

/** Parses `md5sums`: digests by absolute path. Names stand as they are; dpkg refuses what md5sum(1) escapes. */
export function parseDigests(text: string): Map<string, string> {
  const lines = text.matchAll(/^([0-9a-f]{32}) [ *](?:\.?\/)*(.+)$/gm);
  return new Map([...lines].map(([, hex, name]) => [`/${name}`, hex as string]));
}

/** The Conffiles of a stanza, ` PATH MD5 [obsolete]` a line: digests by absolute path, '' for one not known yet. */
export function parseConffiles(stanza: Stanza): Map<string, string> {
  const lines = (stanza.get('conffiles') ?? '').matchAll(
    /^ (\/.*) ([0-9a-f]{32}|newconffile)(?: obsolete| remove-on-upgrade)*$/gm,
  );
  return new Map(
    [...lines].map(([, path, hex]) => [path as string, hex === 'newconffile' ? '' : `${hex}`]),
  );
}

/** What a path becomes for every package but `by`; `:` stands for the administrator, so for every package. */
export interface Diversion {
  readonly to: string;
  readonly by: string;
}

/** Parses `diversions`, three lines each: diversions by the path that packages list. */
export function parseDiversions(text: string): Map<string, Diversion> {
  const lines = text.split('\n');
  const diversions = new Map<string, Diversion>();
  for (let i = 0; i + 2 < lines.length; i += 3) {
    diversions.set(lines[i] as string, { to: lines[i + 1] as string, by: lines[i + 2] as string });
  }
  return diversions;
}

/** The text of a file of a database, one char a byte; undefined where there is none. */
export async function readText(tree: Tree, path: string): Promise<string | undefined> {
  return (await tree.read(path))?.toString('latin1');
}

/** The unpacked packages of the database in `directory`, in the order of their stanzas; none where there is none. */
export async function readStatus(tree: Tree, directory: Path): Promise<DpkgStatus> {
  const packages: DpkgPackage[] = [];
  const warnings: string[] = [];
  const used = new Set<Inode>();
  for (const { path, stanzas } of await readStanzas(tree, directory)) {
    const single = path !== `${directory}/status`;
    for (const stanza of stanzas) {
      if (!NAME.test(stanza.get('package') ?? '')) {
        warnings.push(`a stanza of /${showPath(path)} names no package and is left out`);
      } else if (isUnpacked(stanza)) {
        packages.push(await readPackage(tree, stanza, { path, single, used }));
      }
    }
    if (stanzas.length === 0) warnings.push(`/${showPath(path)} holds no stanza`);
  }
  return { packages, warnings };
}

interface StanzaFile {
  readonly path: Path;
  readonly stanzas: readonly Stanza[];
}

async function readStanzas(tree: Tree, directory: Path): Promise<StanzaFile[]> {
  const paths = [
    `${directory}/status` as Path,
    ...tree.list(`${directory}/status.d` as Path).filter((path) => !BESIDE.test(path)),
  ];
  const files: StanzaFile[] = [];
  for (const path of paths) {
    const text = await readText(tree, path);
    if (text) files.push({ path, stanzas: parseStanzas(text) });
  }
  return files;
}

/** Distroless stanzas have no Status. */
function isUnpacked(stanza: Stanza): boolean {
  const status = stanza.get('status');
  return status === undefined || UNPACKED.includes(status.split(/\s+/)[2] ?? '');
}

/** Where a stanza stands. */
interface Place {
  readonly path: Path;
  /** One stanza a file, as in `status.d`. */
  readonly single: boolean;
  /** Lists that were read; a long one is one package's, so reading takes no more than the database is long. */
  readonly used: Set<Inode>;
}

async function readPackage(
  tree: Tree,
  stanza: Stanza,
  { path, single, used }: Place,
): Promise<DpkgPackage> {
  const name = stanza.get('package') as string;
  const arch = stanza.get('architecture') ?? '';
  const source = /^[^\s(]+/.exec(stanza.get('source') ?? '')?.[0] ?? name;
  const info = `${parentOf(path)}/info/${name}`;
  const places = single
    ? [path, `${parentOf(path)}/${name}`]
    : [...(NAME.test(arch) ? [`${info}:${arch}`] : []), info];
  const conffiles = parseConffiles(stanza);
  const list = await readFirst(tree, places, '.list', used);
  const digests = parseDigests((await readFirst(tree, places, '.md5sums', used)) ?? '');
  const known = digests.size > 0 ? [...digests.keys(), ...conffiles.keys()] : undefined;
  const files = list?.split('\n').filter((line) => /^\/(?!\.?$)/.test(line)) ?? known;
  for (const [conffile, hex] of conffiles) if (hex) digests.set(conffile, hex);
  return {
    name,
    version: stanza.get('version') ?? '',
    source: NAME.test(source) ? source : name,
    stanza: path,
    ...(files && { files }),
    digests,
    conffiles: new Set(conffiles.keys()),
  };
}

async function readFirst(
  tree: Tree,
  places: readonly string[],
  suffix: string,
  used: Set<Inode>,
): Promise<string | undefined> {
  for (const place of places) {
    const path = tree.resolve(place + suffix, 'all');
    const inode = path === undefined ? undefined : tree.get(path);
    if (path === undefined || inode?.type !== 'file') continue;
    if (used.has(inode) && inode.size > SHARED_LIST_BYTES) continue;
    used.add(inode);
    return readText(tree, path);
  }
  return undefined;
}
