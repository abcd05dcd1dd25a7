/**
 * Components as a tool sees them: ours, or what the rivals as shipped find in the same releases (models, by what their
 * documents and sources say they read).
 */
import type { ComponentKind } from '../../../rechunk/components.ts';
import {
  type ComponentFacts,
  type FileFacts,
  isSameFile,
  type Release,
} from '../../series/series.ts';
import { sizeOf } from '../layers.ts';

/** A component as a tool sees it: states of ours, or parts of them. */
export interface Seen {
  readonly name: string;
  readonly states: readonly ComponentFacts[];
  /** Uncompressed bytes. */
  readonly size: number;
  /** Whether a package owns it; what none owns is taken to change always. */
  readonly owned: boolean;
  /** By the package's changelog, seconds since the epoch. */
  readonly changeTimes: readonly number[];
}

/** Finds the components of each release of a series in turn. */
export type See = (release: Release) => readonly Seen[];

const OWNED: ReadonlySet<ComponentKind> = new Set(['package', 'language', 'user', 'kernel']);
/** Chunkah makes a component of each file of this size or more that nothing owns. */
const BIG_FILE = 1 << 20;
/** Compressed bytes of a tar header, as in `series/host.ts`. */
const HEADER_BYTES = 48;
/** Below it the simulated host has a directory for each binary package. */
const HOST_PACKAGE = /^usr\/share\/model\/([^/]+)\//;

function seenOf(
  name: string,
  states: readonly ComponentFacts[],
  changeTimes: readonly number[] | undefined,
): Seen {
  const size = states.reduce((sum, state) => sum + state.size, 0);
  return { name, states, size, owned: changeTimes !== undefined, changeTimes: changeTimes ?? [] };
}

/** Our components, as they are. */
export function seeOurs(): See {
  return (release) =>
    [...release.components.values()].map((state) =>
      seenOf(state.id, [state], OWNED.has(state.kind) ? (state.changeTimes ?? []) : undefined),
    );
}

/** Parts of states; a part in which nothing changed since it was last asked for stays the same object. */
class Parts {
  readonly #known = new Map<string, ComponentFacts>();

  get(name: string, files: readonly FileFacts[], compressedSize: number): ComponentFacts {
    const known = this.#known.get(name);
    if (known && isSameFiles(known.files, files)) return known;
    const size = files.reduce((sum, file) => sum + file.size, 0);
    const part: ComponentFacts = {
      id: name,
      kind: 'rest',
      files,
      size,
      compressedSize,
      changedSize: compressedSize,
    };
    this.#known.set(name, part);
    return part;
  }
}

function isSameFiles(a: readonly FileFacts[], b: readonly FileFacts[]): boolean {
  return (
    a.length === b.length &&
    a.every((file, i) => file === b[i] || isSameFile(file, b[i] as FileFacts))
  );
}

const packedSize = (files: readonly FileFacts[]): number =>
  files.reduce((sum, { compressedSize }) => sum + compressedSize + HEADER_BYTES, 0);

const isRpm = ({ id }: ComponentFacts): boolean => id.startsWith('rpm:');

/**
 * What chunkah sees: source packages of RPM databases; of all else each file of a MiB or more, by its base name (its path
 * where that is taken), and the rest in one component.
 */
export function chunkahSees(): See {
  const parts = new Parts();
  const split = new WeakMap<ComponentFacts, readonly ComponentFacts[]>();
  const splitBig = (state: ComponentFacts): readonly ComponentFacts[] => {
    const big = state.files.filter(({ size }) => size >= BIG_FILE);
    if (big.length === 0) return [state];
    const pieces = big.map((file) => parts.get(file.path, [file], packedSize([file])));
    const left = state.files.filter(({ size }) => size < BIG_FILE);
    const bytes = Math.max(left.length, state.compressedSize - sizeOf(pieces));
    return left.length > 0 ? [...pieces, parts.get(state.id, left, bytes)] : pieces;
  };
  return (release) => {
    const states = [...release.components.values()];
    const packages = states.filter(isRpm);
    const pieces = states
      .filter((state) => !isRpm(state))
      .flatMap((state) => {
        const known = split.get(state) ?? splitBig(state);
        split.set(state, known);
        return known;
      });
    const [big, rest] = [pieces.filter(isBigFile), pieces.filter((piece) => !isBigFile(piece))];
    return [
      ...packages.map((state) =>
        seenOf(state.id.replace(/^rpm:/, 'rpm/'), [state], state.changeTimes ?? []),
      ),
      ...nameBigFiles(big),
      ...(rest.length > 0 ? [seenOf('chunkah/unclaimed', rest, undefined)] : []),
    ];
  };
}

const isBigFile = ({ files }: ComponentFacts): boolean =>
  files.length === 1 && (files[0]?.size ?? 0) >= BIG_FILE;

function nameBigFiles(big: readonly ComponentFacts[]): Seen[] {
  const taken = new Set<string>();
  const pathOf = ({ files }: ComponentFacts): string => files[0]?.path ?? '';
  const sorted = [...big].sort((a, b) => (pathOf(a) < pathOf(b) ? -1 : 1));
  return sorted.map((piece) => {
    const path = pathOf(piece);
    const base = path.slice(path.lastIndexOf('/') + 1);
    const name = taken.has(base) ? path : base;
    taken.add(base);
    return seenOf(`bigfiles/${name}`, [piece], undefined);
  });
}

/** What rpm-ostree sees: binary packages of RPM databases, the initramfs, and all else as one component. */
export function ostreeSees(): See {
  const parts = new Parts();
  const split = new WeakMap<ComponentFacts, readonly Seen[]>();
  const splitPackages = (state: ComponentFacts): readonly Seen[] => {
    const nameOf = ({ path }: FileFacts): string => HOST_PACKAGE.exec(path)?.[1] ?? state.id;
    const byPackage = Map.groupBy(state.files, nameOf);
    if (byPackage.size <= 1) return [seenOf(state.id, [state], state.changeTimes ?? [])];
    return [...byPackage].map(([name, files]) =>
      seenOf(name, [parts.get(name, files, packedSize(files))], state.changeTimes ?? []),
    );
  };
  return (release) => {
    const states = [...release.components.values()];
    const initramfs = states.filter(({ kind }) => kind === 'initramfs');
    const rest = states.filter((state) => !isRpm(state) && state.kind !== 'initramfs');
    const packages = states.filter(isRpm).flatMap((state) => {
      const known = split.get(state) ?? splitPackages(state);
      split.set(state, known);
      return known;
    });
    return [
      ...packages,
      ...initramfs.map((state) => seenOf(state.id, [state], undefined)),
      ...(rest.length > 0 ? [seenOf('unpackaged', rest, undefined)] : []),
    ];
  };
}
