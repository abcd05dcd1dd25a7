/** What real runtimes show, in the shape of what models show, so that both are judged alike. */

import type { Rules, RuntimeModel } from '../rechunk/runtimes/model.ts';
import { modelOf } from '../rechunk/runtimes/models.ts';
import type { View, ViewNode } from '../rechunk/runtimes/view.ts';
import type { Inode, InodeType, Tree } from '../rechunk/tree.ts';
import { impliedDirectory } from '../rechunk/upper.ts';
import { comparePaths, nameOf, type Path, parentOf } from '../registry/path.ts';
import type { MergedView, ViewEntry } from './runtimes/view.ts';

/** What an older version does otherwise. */
const OLD: Readonly<Record<string, Partial<Rules>>> = {
  // moby 20.10; 0755 since late 2022 (moby#44140).
  'docker-overlay2-rootless/bookworm': {
    fresh: { mode: 0o600, owner: 'root', time: 'now' },
    setgid: 'both',
  },
  // libostree 2022.7.
  'ostree/bookworm': { follows: 'all' },
};

/**
 * The model of the runtime `MODEL/SUITE` or `MODEL/VARIANT-SUITE`, with what its version does otherwise; undefined where none is.
 */
export function modelFor(runtime: string): RuntimeModel | undefined {
  const model = modelOf(runtime.split('/')[0] ?? '');
  return model && { ...model, rules: { ...model.rules, ...OLD[runtime] } };
}

const OVERLAY = /^(user|trusted)\.overlay\./;

const CAPABILITY = 'security.capability';
/** Where the root's id is that a capability of a user namespace has (Linux: struct vfs_ns_cap_data). */
const ROOT_ID_AT = 20;

/** A capability as the user namespace sees it that it was set in: without its root's id, revision 2 for 3. */
function ownCapability(hex: string): Uint8Array {
  const bytes = Buffer.from(hex, 'hex');
  if (bytes[3] !== 3) return bytes;
  return Buffer.concat([bytes.subarray(0, 3), Buffer.from([2]), bytes.subarray(4, ROOT_ID_AT)]);
}

function xattrsOf({ xattrs }: ViewEntry, isOverlay: boolean): Map<string, Uint8Array> {
  const some = [...xattrs].filter(([name]) => OVERLAY.test(name) === isOverlay);
  return new Map(
    some.map(([name, hex]) => [
      name,
      name === CAPABILITY ? ownCapability(hex) : Buffer.from(hex, 'hex'),
    ]),
  );
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
