/** An image's layers, each unpacked on its own, as every model starts from; made once for all models. */
import type { Path } from '../../registry/path.ts';
import { type LayerIndex, type LayerOddity, type Node, unpackUpper } from '../upper.ts';
import { FLATTENED, Layering } from './layering.ts';

/** Something odd about a layer's entries. */
export interface Oddity {
  readonly kind: LayerOddity;
  readonly path: Path;
  readonly detail?: string | undefined;
}

/** A layer on its own. */
export interface IsolatedLayer {
  /** How messages name it. */
  readonly name: string;
  /** Not to be changed. */
  readonly root: Node;
  readonly oddities: readonly Oddity[];
}

/**
 * Unpacks each of `layers`, lowest first. Throws `tar` for what no runtime could unpack: an entry below a file, a hard link to nothing
 * or to a directory.
 */
export function isolateLayers(layers: readonly LayerIndex[]): IsolatedLayer[] {
  const lower = new Layering(FLATTENED);
  return layers.map((index, number) => {
    const oddities: Oddity[] = [];
    const { root } = unpackUpper(index, number, lower.root, (kind, path, detail) =>
      oddities.push({ kind, path, detail }),
    );
    const layer = { name: index.name, root, oddities };
    lower.add(layer);
    return layer;
  });
}
