/**
 * Installed Python distributions, found by what installers leave: `NAME-VERSION.dist-info` (PEP 376, 427, 627), `.egg-info`
 * (setuptools, distutils) and `.egg`.
 *
 * They are looked for in directories named `site-packages` or `dist-packages`, and in any that holds a `.dist-info` with
 * METADATA (`pip install --target`). What cannot be read costs its part and a sentence, never the other distributions.
 */
import {
  joinPath,
  NAME_LIMIT,
  nameOf,
  type Path,
  parentOf,
  showPath,
} from '../../registry/path.ts';
import type { Inode, Tree } from '../tree.ts';
import { parseRecord, type RecordedFile, resolveListed } from './record.ts';

/** What tells of a distribution: how it was installed. */
export type InstalledForm = 'dist-info' | 'egg-info' | 'egg';

/** A directory or file by which a distribution is found. */
export interface Installed {
  /** `…/site-packages/NAME-VERSION.dist-info` and alike. */
  readonly path: Path;
  readonly form: InstalledForm;
  /** The file with its headers, whether there is one or not. */
  readonly metadata: Path;
}

/** What a distribution says of itself. */
export interface Distribution extends Installed {
  /** As its author writes it. */
  readonly name: string;
  /** Undefined where nothing says. */
  readonly version: string | undefined;
  /** The tool that installed it, lower case; '' where it left no name. */
  readonly installer: string;
  /** What can be imported, beside {@link Installed.path}: all that is known where there is no list of files. */
  readonly modules: readonly string[];
  /** Sentences about what could not be read. */
  readonly troubles: readonly string[];
}

/** Directories that installers fill. */
const SITE = /(?:^|\/)(?:site|dist)-packages$/;
const INSTALLED = /(?:^|\/)([^/]+)\.(dist-info|egg-info|egg)$/;
/** Files that tell of a distribution. */
export const DOCUMENTS: RegExp =
  /\.dist-info\/(?:METADATA|RECORD|INSTALLER|top_level\.txt)$|\.egg-info(?:\/(?:PKG-INFO|INSTALLER|top_level\.txt|installed-files\.txt))?$|\.egg\/(?:EGG-INFO\/PKG-INFO|INSTALLER)$/;
/** Names of distributions (PEP 508). */
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/;
/** Names that can be imported: any script, never a path. */
const MODULE = /^(?!\.)[^\s/\0]+$/;
/** Most bytes of METADATA that are read: names and versions come before long descriptions and licences. */
const METADATA_LIMIT: number = 1 << 20;
/** Largest INSTALLER and top_level.txt that are read, bytes. */
const SMALL_FILE_LIMIT: number = 1 << 20;
/** Largest list of files that is read, bytes; those of 20,000 files have 3 MB. */
export const LIST_LIMIT: number = 64 << 20;
/** Most rows of a list that are read. */
const ROWS_LIMIT: number = 1 << 20;
/** Longest version that is told to people. */
const VERSION_LIMIT = 128;

/** The regular file at `path`, symlinks followed. */
function fileAt(tree: Tree, path: string): Inode | undefined {
  const resolved = tree.resolve(path, 'all');
  const inode = resolved === undefined ? undefined : tree.get(resolved);
  return inode?.type === 'file' ? inode : undefined;
}

/** Where a form keeps its headers; an `.egg-info` can be the file itself. */
function metadataOf(path: Path, form: InstalledForm, inode: Inode): Path {
  if (form === 'dist-info') return joinPath(path, 'METADATA');
  if (form === 'egg') return joinPath(path, 'EGG-INFO/PKG-INFO');
  return inode.type === 'dir' ? joinPath(path, 'PKG-INFO') : path;
}

/** Every distribution of the tree, in its order; one that an interrupted `pip` renamed to `~…` is none. */
export function findInstalled(tree: Tree): Installed[] {
  const sites = new Set<Path>();
  const found: { installed: Installed; inode: Inode }[] = [];
  for (const { path, inode } of tree.entries) {
    if (inode.type === 'dir' && SITE.test(path)) sites.add(path);
    const [, name = '', form] = INSTALLED.exec(path) ?? [];
    if (!form || !/^[A-Za-z0-9]/.test(name)) continue;
    const metadata = metadataOf(path, form as InstalledForm, inode);
    if (form === 'dist-info' && fileAt(tree, metadata)) sites.add(parentOf(path));
    found.push({ installed: { path, form: form as InstalledForm, metadata }, inode });
  }
  const isOne = ({ path, form }: Installed, inode: Inode): boolean =>
    sites.has(parentOf(path)) &&
    (inode.type === 'dir' || (form !== 'dist-info' && inode.type === 'file'));
  return found.flatMap(({ installed, inode }) => (isOne(installed, inode) ? [installed] : []));
}

/** Parses the headers of METADATA or PKG-INFO: the first of each name, in lower case; continued lines are left out. */
export function parseHeaders(text: string): Map<string, string> {
  const headers = new Map<string, string>();
  for (const line of text.replace(/^\xef\xbb\xbf/, '').split(/\r\n|\r|\n/)) {
    if (line === '') break;
    const [, name, value = ''] = /^([!-9;-~]+):(.*)$/.exec(line) ?? [];
    if (name && !headers.has(name.toLowerCase())) headers.set(name.toLowerCase(), value.trim());
  }
  return headers;
}

/** Name and version by the name of the directory or file, in which `-` only parts them (PEP 427). */
function nameByFile(path: Path): { name: string; version: string | undefined } {
  const [name = '', version = ''] = nameOf(path)
    .replace(/\.(?:dist-info|egg-info|egg)$/, '')
    .split('-');
  return { name: showPath(name), version: version === '' ? undefined : showPath(version) };
}

async function readSmall(tree: Tree, path: string): Promise<string> {
  const inode = fileAt(tree, path);
  if (!inode || inode.size > SMALL_FILE_LIMIT) return '';
  return (await tree.readInode(inode, SMALL_FILE_LIMIT)).toString('latin1');
}

/** What can be imported by top_level.txt, and where there is none what a name would give. */
async function readModules(tree: Tree, path: Path, name: string): Promise<string[]> {
  const text = await readSmall(tree, joinPath(path, 'top_level.txt'));
  const listed = text.split(/\s+/).filter((line) => MODULE.test(line));
  return listed.length > 0 ? [...new Set(listed)] : [name.replace(/[-.]+/g, '_')];
}

/** Reads what the files of `installed` say, all but its list of files. */
export async function readDistribution(tree: Tree, installed: Installed): Promise<Distribution> {
  const { path, metadata } = installed;
  const inode = fileAt(tree, metadata);
  const bytes = inode ? await tree.readInode(inode, METADATA_LIMIT) : Buffer.alloc(0);
  const headers = parseHeaders(bytes.toString('latin1', 0, METADATA_LIMIT));
  const stated = headers.get('name') ?? '';
  const byFile = nameByFile(path);
  const named = NAME.test(stated) && stated.length <= NAME_LIMIT;
  const version = headers.get('version') || byFile.version;
  const name = named ? stated : byFile.name;
  const trouble = `/${showPath(metadata)} names no distribution: its file's name does`;
  return {
    ...installed,
    name,
    version: version === undefined ? undefined : showPath(version.slice(0, VERSION_LIMIT)),
    installer: (await readSmall(tree, joinPath(path, 'INSTALLER'))).trim().toLowerCase(),
    modules: installed.form === 'egg' ? [] : await readModules(tree, path, name),
    troubles: inode && !named ? [trouble] : [],
  };
}

/** The list of files of a distribution, not parsed yet. */
export interface FileList {
  readonly path: Path;
  /** Bytes of the list itself. */
  readonly size: number;
  readonly form: 'RECORD' | 'installed-files';
}

/** The list that `installed` comes with; undefined where there is none, as in what operating systems install. */
export function findList(tree: Tree, { path, form }: Installed): FileList | undefined {
  const list = form === 'dist-info' ? 'RECORD' : 'installed-files';
  const file = joinPath(path, list === 'RECORD' ? list : 'installed-files.txt');
  const inode = fileAt(tree, file);
  return inode && form !== 'egg' ? { path: file, size: inode.size, form: list } : undefined;
}

/** Lines of paths relative to the `.egg-info` (pip's `--record` for setuptools). */
function* parseInstalledFiles(text: string, directory: Path): Generator<RecordedFile | undefined> {
  for (const [line] of text.matchAll(/[^\r\n]+/g)) {
    const path = resolveListed(directory, line);
    yield path ? { path } : undefined;
  }
}

/** What a list says. */
export interface ListedFiles {
  /** Each path once, from the first row that names it. */
  readonly files: readonly RecordedFile[];
  /** Rows that make no sense. */
  readonly senseless: number;
}

/** The files of a list; undefined for a list with more bytes or rows than are read. */
export async function readList(
  tree: Tree,
  { path, size, form }: FileList,
): Promise<ListedFiles | undefined> {
  if (size > LIST_LIMIT) return undefined;
  const text = ((await tree.read(path)) ?? Buffer.alloc(0)).toString('latin1');
  const directory = parentOf(path);
  const rows =
    form === 'RECORD'
      ? parseRecord(text, parentOf(directory))
      : parseInstalledFiles(text, directory);
  const files = new Map<Path, RecordedFile>();
  let [count, senseless] = [0, 0];
  for (const file of rows) {
    if (++count > ROWS_LIMIT) return undefined;
    if (!file) senseless++;
    else if (!files.has(file.path)) files.set(file.path, file);
  }
  return { files: [...files.values()], senseless };
}
