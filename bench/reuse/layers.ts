/**
 * Packed releases, and what clients pull between them. A layer is a set of component states; it is unchanged where the
 * states are the same objects (`../series/series.ts`), so that times of installation never count. What a layer weighs is the
 * sum of what its components weigh compressed, for every way of packing alike.
 */
import type { ComponentFacts, Release } from '../series/series.ts';

/** A layer: the states of its components, in any order. */
export type Layer = readonly ComponentFacts[];

/** An image's layers, lowest first; none is empty. */
export type Packing = readonly Layer[];

/** Packs the releases of a series, one after the other; may remember. */
export type Packer = (release: Release) => Packing;

/** Makes a packer for at most so many layers. */
export type PackerMaker = (maxLayers: number) => Packer;

/** What a client that has one release pulls for another. */
export interface Update {
  /** How many releases lie before the one that the client has. */
  readonly from: number;
  /** Compressed bytes of layers that the client has not (podman, containerd, bootc). */
  readonly bytes: number;
  /** Compressed bytes of the first layer that differs and of all above it (Docker's graph drivers). */
  readonly chainBytes: number;
  /** Layers that the client has not. */
  readonly layers: number;
  /** Compressed bytes of the whole image. */
  readonly size: number;
}

/** A layer as counted: one object for all equal layers. */
interface Blob {
  readonly bytes: number;
}

/** Tells equal layers by identity, across the releases of one packing. */
class Blobs {
  readonly #numbers = new Map<ComponentFacts, number>();
  readonly #known = new Map<string, Blob>();

  /** The same object for layers of the same states. */
  get(layer: Layer): Blob {
    const key = layer
      .map((facts) => this.#numberOf(facts))
      .sort((a, b) => a - b)
      .join();
    const blob = this.#known.get(key) ?? { bytes: sizeOf(layer) };
    this.#known.set(key, blob);
    return blob;
  }

  #numberOf(facts: ComponentFacts): number {
    const number = this.#numbers.get(facts) ?? this.#numbers.size;
    this.#numbers.set(facts, number);
    return number;
  }
}

/** Compressed bytes of a layer or of any other states. */
export function sizeOf(states: Iterable<ComponentFacts>): number {
  let sum = 0;
  for (const { compressedSize } of states) sum += compressedSize;
  return sum;
}

const sumOf = (blobs: readonly Blob[]): number => blobs.reduce((sum, { bytes }) => sum + bytes, 0);

/** What a series costs as it was packed. */
export class PackedSeries {
  readonly #images: readonly (readonly Blob[])[];

  /** `packings`: of each release in turn. */
  constructor(packings: readonly Packing[]) {
    const blobs = new Blobs();
    this.#images = packings.map((packing) => packing.map((layer) => blobs.get(layer)));
  }

  /** Of clients that take every `stride`th release, whichever they began with: one update for each release that they have. */
  updates(stride: number): Update[] {
    return this.#images.slice(stride).map((next, from) => {
      const old = this.#images[from] ?? [];
      const known = new Set(old);
      const pulled = next.filter((blob) => !known.has(blob));
      const first = next.findIndex((blob, i) => blob !== old[i]);
      const chainBytes = first < 0 ? 0 : sumOf(next.slice(first));
      const bytes = sumOf(pulled);
      return { from, bytes, chainBytes, layers: pulled.length, size: sumOf(next) };
    });
  }

  /** Compressed bytes in a registry that keeps all releases. */
  get storage(): number {
    return sumOf([...new Set(this.#images.flat())]);
  }
}

/** Layers of a release from lists of component ids; ids that it has not, and empty layers, are left out. */
export function layersOf(release: Release, groups: Iterable<Iterable<string>>): Packing {
  const packed: Layer[] = [];
  for (const ids of groups) {
    const layer = [...ids].flatMap((id) => release.components.get(id) ?? []);
    if (layer.length > 0) packed.push(layer);
  }
  return packed;
}
