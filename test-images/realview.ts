/** What real runtimes show, in the shape of what models show, so that both are judged alike. */

import type { RuntimeModel } from '../rechunk/runtimes/model.ts';
import { modelOf } from '../rechunk/runtimes/models.ts';
import type { View, ViewNode } from '../rechunk/runtimes/view.ts';
import type { Inode, InodeType, Tree } from '../rechunk/tree.ts';
import { impliedDirectory } from '../rechunk/upper.ts';
import { comparePaths, nameOf, type Path, parentOf } from '../registry/path.ts';
import type { MergedView, ViewEntry } from './runtimes/view.ts';

/** The model of the runtime `MODEL/SUITE` or `MODEL/VARIANT-SUITE`; undefined where none is. */
export function modelFor(runtime: string): RuntimeModel | undefined {
  const [model = '', rest = ''] = runtime.split('/');
  const variant = rest.split('-').slice(0, -1);
  return modelOf([model, ...variant].join('-')) ?? modelOf(model);
}

const OVERLAY = /^(user|trusted)\.overlay\./;

function xattrsOf({ xattrs }: ViewEntry, isOverlay: boolean): Map<string, Uint8Array> {
  const some = [...xattrs].filter(([name]) => OVERLAY.test(name) === isOverlay);
  return new Map(some.map(([name, hex]) => [name, Buffer.from(hex, 'hex')]));
}

/** The content of a file is taken for what is meant where the size is. */
function nodeOf(entry: ViewEntry, wanted: Inode | undefined, sinceNs: bigint): ViewNode {
  const { type, mode, uid, gid, mtimeNs, size = 0, target = '', device = [0, 0] } = entry;
  const isDangling = type === 'dangling';
  const inode: Inode = {
    ...impliedDirectory().inode,
    type: (isDangling ? 'char' : type) as InodeType,
    mode,
    uid,
    gid,
    mtime: mtimeNs,
    size,
    target,
    devMajor: device[0],
    devMinor: device[1],
    xattrs: xattrsOf(entry, false),
    sha256: wanted?.size === size ? wanted.sha256 : '',
  };
  return {
    inode,
    isNow: mtimeNs >= sinceNs,
    leaked: xattrsOf(entry, true),
    marked: false,
    layer: 0,
    ...(isDangling ? { dangling: true } : {}),
    ...(type === 'dir' ? { children: new Map() } : {}),
  };
}

/** The view of a real runtime, as the view of its model; `tree` is what is meant. */
export function viewOfReal(
  model: RuntimeModel,
  { refused, entries, sinceNs }: MergedView,
  tree: Tree,
): View {
  const root: ViewNode = {
    inode: impliedDirectory().inode,
    children: new Map(),
    isNow: true,
    leaked: new Map(),
    marked: false,
    layer: 0,
  };
  if (refused !== undefined)
    return {
      model,
      root,
      refused: { layer: 'the image', path: '' as Path, reason: refused, isFixable: true },
    };
  const nodes = new Map<Path, ViewNode>();
  const paths = [...entries.keys()].sort((a, b) => comparePaths(a as Path, b as Path)) as Path[];
  for (const path of paths) {
    const node = nodeOf(entries.get(path) as ViewEntry, tree.get(path), sinceNs);
    nodes.set(path, node);
    if (path !== '') nodes.get(parentOf(path))?.children?.set(nameOf(path), node);
  }
  return { model, root: nodes.get('' as Path) ?? root };
}
