/**
 * The merged view of an image's layers as a runtime shows it to a container. Hard-link groups and content are as the layers state
 * them.
 */
import { joinPath, type Path } from '../../registry/path.ts';
import type { Xattrs } from '../../registry/tar.ts';
import type { Inode } from '../tree.ts';
import { Layering } from './layering.ts';
import type { RuntimeModel } from './model.ts';
import { Refusal } from './refusal.ts';
import type { IsolatedLayer } from './stack.ts';

/** What a container sees at a name. */
export interface ViewNode {
  inode: Inode;
  /** By name; of every directory. */
  children?: Map<string, ViewNode>;
  /** The time is that of unpacking. */
  isNow: boolean;
  /** The `overlay.*` xattrs that are seen. */
  leaked: Xattrs;
  /** Every layer that has the directory marks it to delegate its metadata. */
  marked: boolean;
  /** A deletion of nothing: the name is listed, and there is nothing behind it. */
  dangling?: boolean;
  /** The number of the topmost layer that said something of it. */
  layer: number;
}

/** Where and why a runtime refuses an image. */
export interface Refused {
  /** How messages name the layer. */
  readonly layer: string;
  readonly path: Path;
  readonly reason: string;
  /** Whether other layers of the same files could avoid it. */
  readonly isFixable: boolean;
}

/** What a runtime makes of an image. */
export interface View {
  readonly model: RuntimeModel;
  /** Set where the runtime refuses the image; then `root` is what the layers below made. */
  readonly refused?: Refused;
  readonly root: ViewNode;
}

/** What the runtime `model` shows of `layers`, lowest first. */
export function viewOf(model: RuntimeModel, layers: readonly IsolatedLayer[]): View {
  const layering = new Layering(model.rules);
  let name = 'the image';
  try {
    for (const layer of layers) {
      name = layer.name;
      layering.add(layer);
    }
    name = 'the image';
    layering.finish();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const { path, reason, isFixable } = error;
    return { model, root: layering.root, refused: { layer: name, path, reason, isFixable } };
  }
  return { model, root: layering.root };
}

/** All names of a view with their paths, parents first. */
export function* listView(node: ViewNode, path = '' as Path): Generator<readonly [Path, ViewNode]> {
  yield [path, node];
  for (const [name, child] of node.children ?? []) yield* listView(child, joinPath(path, name));
}
