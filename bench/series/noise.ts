/**
 * Noise: builds of the same content that differ in what no one asked for. A build stamps new times, compiles Python again
 * (a `.pyc` holds its source's time), and its package manager, given the packages in another order, writes its databases
 * anew. Whatever an update pulls for these is waste.
 */
import { createHash } from 'node:crypto';
import { comparePaths, type Path } from '../../registry/path.ts';
import { Random } from './random.ts';
import type { ComponentFacts, FileFacts, Release } from './series.ts';

/** What the second build of a release does otherwise. */
export interface RebuildOptions {
  /** When it is built, seconds since the epoch: the time of all files that have the moment of installation. */
  readonly date: number;
  /** `installed` (default): only those files get new times; `all`: every file does, as where a tree is copied. */
  readonly times?: 'installed' | 'all';
  /** Packages are installed in an order drawn by this seed, and databases are written in that order; default: as before. */
  readonly order?: number;
}

/** Content and metadata of compiled Python are its source's; of its digest the first half is the code's, the rest the time's. */
const COMPILED = /(^|\/)__pycache__\/[^/]+\.cpython-311\.pyc$/;
const SOURCE = /^(.*?)([^/]+)\.py$/;
const HALF_DIGITS = 8;
/** Bytes of a `.pyc` for each byte of its source, and what is left of them compressed: 1,500 files of CPython 3.11's library. */
const COMPILED_RATIO = 1.18;
const COMPILED_SHARE = 0.41;
/** What databases keep of each package in a file of its own, which no order touches. */
const OWN_RECORD = /\/info\//;

const half = (text: string): string =>
  createHash('sha256').update(text).digest('hex').slice(0, HALF_DIGITS);

const timeOf = ({ mtime }: FileFacts, date: number): number => mtime ?? date;

/** The `.pyc` of a source file. */
function compile(source: FileFacts, date: number): FileFacts[] {
  const [, directory, name] = SOURCE.exec(source.path) ?? [];
  if (name === undefined || source.content === '') return [];
  const size = Math.round(source.size * COMPILED_RATIO);
  return [
    {
      path: `${directory}__pycache__/${name}.cpython-311.pyc`,
      content: half(source.content) + half(String(timeOf(source, date))),
      size,
      compressedSize: Math.round(size * COMPILED_SHARE),
      metadata: 'file 644 0:0',
    },
  ];
}

const bytesOf = (files: readonly FileFacts[]): number =>
  files.reduce((sum, { compressedSize }) => sum + compressedSize, 0);

function mapComponents(
  release: Release,
  change: (state: ComponentFacts) => ComponentFacts,
): Release {
  const states = [...release.components.values()].map(change);
  return { ...release, components: new Map(states.map((state) => [state.id, state])) };
}

/** The code in a `.pyc` that {@link compiled} made: equal for two that differ in their source's time alone. */
export function codeOf({ path, content }: FileFacts): string | undefined {
  return COMPILED.test(path) ? content.slice(0, HALF_DIGITS) : undefined;
}

/** States whose sources have times of their own, compiled: the same in every release. */
const known = new WeakMap<ComponentFacts, ComponentFacts>();

/**
 * The release after its Python sources were compiled, each beside its source as Debian's packages do at installation.
 * Releases still share what did not change, unless its sources have the moment of installation.
 */
export function compiled(release: Release): Release {
  return mapComponents(release, (state) => {
    const result = known.get(state) ?? compileAll(state, release.date);
    const isTimeless = state.files.every(
      ({ path, mtime }) => mtime !== undefined || !SOURCE.test(path),
    );
    if (isTimeless) known.set(state, result);
    return result;
  });
}

function compileAll(state: ComponentFacts, date: number): ComponentFacts {
  const made = state.files.flatMap((file) => compile(file, date));
  if (made.length === 0) return state;
  const files = [...state.files, ...made].sort((a, b) =>
    comparePaths(a.path as Path, b.path as Path),
  );
  return {
    ...state,
    files,
    size: state.size + made.reduce((sum, { size }) => sum + size, 0),
    compressedSize: state.compressedSize + bytesOf(made),
    changedSize: state.changedSize + bytesOf(made),
  };
}

/** The same release built a second time: equal but for the noise that `options` ask for. */
export function rebuild(release: Release, options: RebuildOptions): Release {
  const { date, times = 'installed', order } = options;
  const restamp = (file: FileFacts): FileFacts => {
    if (times === 'installed' || file.mtime === undefined) return file;
    const { mtime: _, ...rest } = file;
    return rest;
  };
  const rebuilt = mapComponents(release, (state) => {
    const sources = new Map(state.files.map((file) => [compile(file, 0)[0]?.path, file]));
    const files = state.files.map((file) => {
      const source = codeOf(file) === undefined ? undefined : sources.get(file.path);
      if (source) return restamp({ ...file, content: recompiled(file, restamp(source), date) });
      if (order !== undefined && state.kind === 'database') return reordered(file, order);
      return restamp(file);
    });
    return finish(state, files);
  });
  const shuffled = order === undefined ? rebuilt.components : shuffle(rebuilt.components, order);
  return { ...rebuilt, date, components: shuffled };
}

function recompiled(file: FileFacts, source: FileFacts, date: number): string {
  return (codeOf(file) as string) + half(String(timeOf(source, date)));
}

/** Written in another order: as many bytes, others. */
function reordered(file: FileFacts, order: number): FileFacts {
  if (file.content === '' || OWN_RECORD.test(file.path)) return file;
  const content = createHash('sha256').update(`${file.content} ${order}`).digest('hex');
  return { ...file, content: content.slice(0, 2 * HALF_DIGITS) };
}

function finish(state: ComponentFacts, files: readonly FileFacts[]): ComponentFacts {
  const changed = files.filter((file, i) => file.content !== state.files[i]?.content);
  if (files.every((file, i) => file === state.files[i])) return state;
  return { ...state, files, changedSize: bytesOf(changed) };
}

function shuffle(
  components: ReadonlyMap<string, ComponentFacts>,
  seed: number,
): Map<string, ComponentFacts> {
  const random = new Random(seed);
  const drawn = [...components].map((entry) => ({ entry, at: random.next() }));
  return new Map(drawn.sort((a, b) => a.at - b.at).map(({ entry }) => entry));
}
