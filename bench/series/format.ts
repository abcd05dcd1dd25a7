/**
 * The stored form of a series: JSON, gzipped. Contents and metadata are pooled in the order in which they first occur; a
 * component's state is what it has that its previous state had not; a release names the states that are new in it and the
 * components that went. Contents that no earlier state had are numbered in order and so need no number.
 */
import { gunzipSync, gzipSync } from 'node:zlib';
import type { ComponentKind } from '../../rechunk/components.ts';
import { comparePaths, type Path } from '../../registry/path.ts';
import type { ComponentFacts, FileFacts, Release } from './series.ts';

/** Counts up when older files cannot be read any more. */
const FORMAT = 1;
/** Hex digits of a content digest. */
const DIGEST_DIGITS = 16;
/** No path has two slashes in a row. */
const SEPARATOR = '//';
/** In place of a content's number: there is none, or the next that was not seen before. */
const NO_CONTENT = -1;
const NEXT_CONTENT = 0;

/** Files of a state against the previous one; positions are gaps between ascending numbers. */
interface StoredFiles {
  /** Positions in the previous state that have other facts now. */
  readonly edit: readonly number[];
  /** Positions in the previous state that are gone. */
  readonly drop: readonly number[];
  /** What all added paths begin with, and the rest of each. */
  readonly add: readonly [prefix: string, rests: string];
  /** Facts of edited, then of added files: content number, metadata number, time (null: of installation; as gaps). */
  readonly contents: readonly number[];
  readonly metadata: readonly number[];
  readonly mtimes?: readonly (number | null)[];
}

interface StoredState {
  /** Index in the list of components. */
  readonly component: number;
  /** Bytes compressed: all files, changed files. */
  readonly bytes: readonly [all: number, changed: number];
  readonly packages?: readonly string[];
  /** As gaps. */
  readonly changeTimes?: readonly number[];
  readonly updateIntervalDays?: number;
  readonly files: StoredFiles;
}

interface StoredRelease {
  readonly name: string;
  readonly date: number;
  /** States that are new in it come next in the list of states; how many. */
  readonly fresh: number;
  /** Earlier states that are back, by index. */
  readonly back?: readonly number[];
  /** Components that went, by index. */
  readonly drop?: readonly number[];
}

interface StoredSeries {
  readonly format: typeof FORMAT;
  readonly contents: {
    readonly digests: string;
    readonly sizes: readonly number[];
    readonly compressed: readonly number[];
  };
  readonly metadata: readonly string[];
  readonly components: readonly (readonly [id: string, kind: ComponentKind])[];
  readonly states: readonly StoredState[];
  readonly releases: readonly StoredRelease[];
}

/** Numbers things in the order in which they first occur. */
class Pool<T> {
  readonly items: T[] = [];
  readonly #numbers = new Map<string, number>();

  number(key: string, item: T): { number: number; isNew: boolean } {
    const known = this.#numbers.get(key);
    if (known !== undefined) return { number: known, isNew: false };
    this.#numbers.set(key, this.items.length);
    return { number: this.items.push(item) - 1, isNew: true };
  }
}

const toGaps = (numbers: readonly number[]): number[] =>
  numbers.map((value, i) => value - (i > 0 ? (numbers[i - 1] as number) : 0));

function fromGaps(gaps: readonly number[]): number[] {
  let at = 0;
  return gaps.map((gap) => {
    at += gap;
    return at;
  });
}

/** Times as gaps, where those of installation are passed over. */
function mapTimes<T extends number | null | undefined>(
  times: readonly T[],
  step: (time: number, before: number) => { stored: number; time: number },
): (number | null)[] {
  let before = 0;
  return times.map((time) => {
    if (time === undefined || time === null) return null;
    const next = step(time, before);
    before = next.time;
    return next.stored;
  });
}

const timesToGaps = (times: readonly (number | undefined)[]): (number | null)[] =>
  mapTimes(times, (time, before) => ({ stored: time - before, time }));
const timesFromGaps = (gaps: readonly (number | null)[]): (number | null)[] =>
  mapTimes(gaps, (gap, before) => ({ stored: before + gap, time: before + gap }));

function commonPrefix(paths: readonly string[]): string {
  const first = paths[0] ?? '';
  let length = first.length;
  for (const path of paths) while (!path.startsWith(first.slice(0, length))) length--;
  return first.slice(0, length);
}

/** Writes the series of one file: pools are filled as states come. */
class Encoder {
  readonly #contents = new Pool<FileFacts>();
  readonly #metadata = new Pool<string>();
  readonly #components = new Pool<readonly [string, ComponentKind]>();
  readonly #numbers = new Map<ComponentFacts, number>();
  readonly #latest = new Map<string, readonly FileFacts[]>();
  readonly #states: StoredState[] = [];
  readonly #releases: StoredRelease[] = [];
  #previous: Release['components'] = new Map();

  add({ name, date, components }: Release): void {
    const back: number[] = [];
    const before = this.#states.length;
    for (const state of components.values()) {
      const known = this.#numbers.get(state);
      if (known === undefined) this.#addState(state);
      else if (this.#previous.get(state.id) !== state) back.push(known);
    }
    const drop = [...this.#previous.values()]
      .filter(({ id }) => !components.has(id))
      .map(({ id, kind }) => this.#components.number(id, [id, kind]).number);
    const fresh = this.#states.length - before;
    const optional = { ...(back.length > 0 && { back }), ...(drop.length > 0 && { drop }) };
    this.#releases.push({ name, date, fresh, ...optional });
    this.#previous = components;
  }

  finish(): StoredSeries {
    const contents = this.#contents.items;
    const digests = contents.map(({ content }) => content).join('');
    return {
      format: FORMAT,
      contents: {
        digests: Buffer.from(digests, 'hex').toString('base64'),
        sizes: contents.map(({ size }) => size),
        compressed: contents.map(({ compressedSize }) => compressedSize),
      },
      metadata: this.#metadata.items,
      components: this.#components.items,
      states: this.#states,
      releases: this.#releases,
    };
  }

  #addState(state: ComponentFacts): void {
    const { id, kind, packages, changeTimes, updateIntervalDays } = state;
    this.#numbers.set(state, this.#states.length);
    this.#states.push({
      component: this.#components.number(id, [id, kind]).number,
      bytes: [state.compressedSize, state.changedSize],
      ...(packages && { packages }),
      ...(changeTimes && { changeTimes: toGaps(changeTimes) }),
      ...(updateIntervalDays !== undefined && { updateIntervalDays }),
      files: this.#encodeFiles(this.#latest.get(id) ?? [], state.files),
    });
    this.#latest.set(id, state.files);
  }

  #encodeFiles(before: readonly FileFacts[], after: readonly FileFacts[]): StoredFiles {
    const left = new Map(after.map((file) => [file.path, file]));
    const edit: number[] = [];
    const drop: number[] = [];
    const edited: FileFacts[] = [];
    for (const [i, old] of before.entries()) {
      const now = left.get(old.path);
      left.delete(old.path);
      if (!now) drop.push(i);
      else if (!isEqual(old, now)) {
        edit.push(i);
        edited.push(now);
      }
    }
    const added = [...left.values()];
    const prefix = commonPrefix(added.map(({ path }) => path));
    const rests = added.map(({ path }) => path.slice(prefix.length)).join(SEPARATOR);
    const fresh = [...edited, ...added];
    const mtimes = fresh.map(({ mtime }) => mtime);
    return {
      edit: toGaps(edit),
      drop: toGaps(drop),
      add: [prefix, rests],
      contents: fresh.map((file) => this.#contentNumber(file)),
      metadata: fresh.map(({ metadata }) => this.#metadata.number(metadata, metadata).number),
      ...(mtimes.some((time) => time !== undefined) && { mtimes: timesToGaps(mtimes) }),
    };
  }

  #contentNumber(file: FileFacts): number {
    if (file.content === '') return NO_CONTENT;
    const { number, isNew } = this.#contents.number(file.content, file);
    return isNew ? NEXT_CONTENT : number + 1;
  }
}

function isEqual(a: FileFacts, b: FileFacts): boolean {
  return a.content === b.content && a.metadata === b.metadata && a.mtime === b.mtime;
}

/** The stored form of `releases`; states are told apart as objects. Equal series give equal bytes. */
export function encodeSeries(releases: Iterable<Release>): Buffer {
  const encoder = new Encoder();
  for (const release of releases) encoder.add(release);
  return gzipSync(JSON.stringify(encoder.finish()), { level: 9 });
}

/** Reads what {@link encodeSeries} wrote; files and states that did not change are shared objects. */
export function decodeSeries(bytes: Uint8Array): Release[] {
  const stored = JSON.parse(gunzipSync(bytes).toString()) as StoredSeries;
  if (stored.format !== FORMAT) {
    throw new Error(`reading a series: its format is ${stored.format}, want ${FORMAT}`);
  }
  const states = decodeStates(stored);
  const components = new Map<string, ComponentFacts>();
  let next = 0;
  return stored.releases.map(({ name, date, fresh, back = [], drop = [] }) => {
    for (const i of drop) components.delete((stored.components[i] as readonly [string, string])[0]);
    const changed = [...states.slice(next, next + fresh), ...back.map((i) => states[i])];
    for (const state of changed as ComponentFacts[]) components.set(state.id, state);
    next += fresh;
    const sorted = [...components].sort(([a], [b]) => (a < b ? -1 : 1));
    return { name, date, components: new Map(sorted) };
  });
}

function decodeStates(stored: StoredSeries): ComponentFacts[] {
  const latest = new Map<string, readonly FileFacts[]>();
  const factsOf = fileDecoder(stored);
  return stored.states.map((state) => {
    const [id, kind] = stored.components[state.component] as readonly [string, ComponentKind];
    const files = decodeFiles(state.files, latest.get(id) ?? [], factsOf);
    latest.set(id, files);
    const { packages, changeTimes, updateIntervalDays } = state;
    return {
      id,
      kind,
      ...(packages && { packages }),
      ...(changeTimes && { changeTimes: fromGaps(changeTimes) }),
      ...(updateIntervalDays !== undefined && { updateIntervalDays }),
      files,
      size: files.reduce((sum, { size }) => sum + size, 0),
      compressedSize: state.bytes[0],
      changedSize: state.bytes[1],
    };
  });
}

type FileDecoder = (
  path: string,
  content: number,
  metadata: number,
  mtime: number | null,
) => FileFacts;

function fileDecoder({ contents, metadata }: StoredSeries): FileDecoder {
  const digests = Buffer.from(contents.digests, 'base64').toString('hex');
  let seen = 0;
  return (path, stored, metadataNumber, mtime) => {
    const known = {
      path,
      metadata: metadata[metadataNumber] as string,
      ...(mtime !== null && { mtime }),
    };
    if (stored === NO_CONTENT) return { ...known, content: '', size: 0, compressedSize: 0 };
    const number = stored === NEXT_CONTENT ? seen++ : stored - 1;
    const at = number * DIGEST_DIGITS;
    return {
      ...known,
      content: digests.slice(at, at + DIGEST_DIGITS),
      size: contents.sizes[number] as number,
      compressedSize: contents.compressed[number] as number,
    };
  };
}

function decodeFiles(
  stored: StoredFiles,
  before: readonly FileFacts[],
  factsOf: FileDecoder,
): FileFacts[] {
  const edited = fromGaps(stored.edit);
  const gone = new Set([...edited, ...fromGaps(stored.drop)]);
  const [prefix, rests] = stored.add;
  const count = stored.contents.length - edited.length;
  const added = count > 0 ? rests.split(SEPARATOR).map((rest) => prefix + rest) : [];
  const paths = [...edited.map((i) => (before[i] as FileFacts).path), ...added];
  const mtimes = stored.mtimes && timesFromGaps(stored.mtimes);
  const fresh = paths.map((path, i) =>
    factsOf(path, stored.contents[i] as number, stored.metadata[i] as number, mtimes?.[i] ?? null),
  );
  const files = [...before.filter((_, i) => !gone.has(i)), ...fresh];
  return files.sort((a, b) => comparePaths(a.path as Path, b.path as Path));
}
