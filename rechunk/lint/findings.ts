/** What in an image's layers some runtime may show otherwise than meant: found in the layers themselves, no runtime is asked. */
import { joinPath, type Path, showPath } from '../../registry/path.ts';
import { hasEqualRights, type Watcher } from '../flatten.ts';
import type { LayerOddity, Node } from '../upper.ts';

/** Stable codes of findings. */
export type LintCode =
  | 'implied-parent'
  | 'partial-chain'
  | 'late-parent'
  | 'symlinked-ancestor'
  | 'directory-disagreement'
  | 'overlay-xattr'
  | 'delegate-marker'
  | 'duplicate-path'
  | 'lower-hard-link'
  | 'deletion';

/** What each code means. */
export const LINT_CODES: Readonly<Record<LintCode, string>> = {
  'implied-parent': 'a layer has entries below a directory that it does not define',
  'partial-chain': 'a layer defines some directories on the way to an entry, and not this one',
  'late-parent': 'a layer defines a directory after entries below it',
  'symlinked-ancestor': 'a layer has entries below what is, or was until then, a symlink',
  'directory-disagreement': 'layers give a directory different modes, owners or attributes',
  'overlay-xattr': 'an entry carries an overlay xattr, which some runtimes obey and some show',
  'delegate-marker': 'a directory is marked to delegate its metadata, which some runtimes show',
  'duplicate-path': 'a layer lists a path twice',
  'lower-hard-link': 'a hard link names a file of a lower layer',
  deletion: 'a layer deletes what a lower one has, which podman’s composefs storage does not',
};

/** One path that has something of one kind. */
export interface Finding {
  readonly code: LintCode;
  /** For lookups; '' is the root. */
  readonly path: Path;
  /** The layers that have it, 1 the lowest; ascending. */
  readonly layers: readonly number[];
  /** What else there is to say, '' for nothing. */
  readonly detail: string;
}

const OF_ODDITY: Readonly<Partial<Record<LayerOddity, LintCode>>> = {
  duplicate: 'duplicate-path',
  'late-parent': 'late-parent',
  'below-own-symlink': 'symlinked-ancestor',
  'lower-hard-link': 'lower-hard-link',
  'overlay-xattr': 'overlay-xattr',
};

interface Collected {
  readonly code: LintCode;
  readonly path: Path;
  readonly layers: Set<number>;
  readonly details: Set<string>;
}

/** Collects findings while layers are flattened. */
export class FindingCollector implements Watcher {
  readonly #found = new Map<string, Collected>();

  onOddity(number: number, kind: LayerOddity, path: Path, detail = ''): void {
    const code = OF_ODDITY[kind];
    if (code) this.#add(code, path, [number], kind === 'overlay-xattr' ? showPath(detail) : detail);
  }

  onLayer(number: number, upper: Node, lower: Node): void {
    this.#look(upper, lower, { number, path: '' as Path, isBelowDefined: false });
  }

  /** Sorted by code as they are listed in {@link LINT_CODES}, then by path. */
  list(): Finding[] {
    const order = Object.keys(LINT_CODES);
    const findings = [...this.#found.values()].map(({ code, path, layers, details }) => ({
      code,
      path,
      layers: [...layers].sort((a, b) => a - b),
      detail: [...details].sort().join(', '),
    }));
    return findings.sort(
      (a, b) => order.indexOf(a.code) - order.indexOf(b.code) || (a.path < b.path ? -1 : 1),
    );
  }

  #add(code: LintCode, path: Path, numbers: readonly number[], detail = ''): void {
    const key = `${code} ${path}`;
    const found = this.#found.get(key) ?? { code, path, layers: new Set(), details: new Set() };
    this.#found.set(key, found);
    for (const number of numbers) found.layers.add(number + 1);
    if (detail !== '') found.details.add(detail);
  }

  /** Looks at a directory of a layer and at all below; gives whether the layer defines a directory there. */
  #look(upper: Node, lower: Node | undefined, place: Place): boolean {
    const { number, path } = place;
    const isDefined = path !== '' && !upper.implied;
    const isBelowDefined = place.isBelowDefined || isDefined;
    const shows = upper.opaque ? undefined : lower;
    for (const name of (upper.opaque ? lower?.children?.keys() : upper.whiteouts) ?? []) {
      if (lower?.children?.has(name)) this.#add('deletion', joinPath(path, name), [number]);
    }
    let definesBelow = false;
    for (const [name, child] of upper.children ?? []) {
      if (!child.children) continue;
      const below = upper.whiteouts?.has(name) ? undefined : shows?.children?.get(name);
      const next = { number, path: joinPath(path, name), isBelowDefined };
      if (this.#look(child, below, next)) definesBelow = true;
    }
    if (path === '') return definesBelow;
    if (lower?.inode.type === 'symlink')
      this.#add('symlinked-ancestor', path, [number], `-> ${showPath(lower.inode.target)}`);
    if (upper.implied) {
      const isPartial = definesBelow || place.isBelowDefined;
      this.#add(isPartial ? 'partial-chain' : 'implied-parent', path, [number]);
    } else this.#compare(upper, lower, number, path);
    return definesBelow || isDefined;
  }

  /** Looks at a directory that a layer defines, over what was there. */
  #compare(upper: Node, lower: Node | undefined, number: number, path: Path): void {
    if (upper.delegates) {
      this.#add('delegate-marker', path, [number]);
      return;
    }
    const isKnown = lower?.children && !lower.implied && !lower.delegates;
    if (isKnown && !hasEqualRights(lower.inode, upper.inode))
      this.#add('directory-disagreement', path, [lower.inode.layer, number]);
  }
}

/** Where the walk through a layer is. */
interface Place {
  readonly number: number;
  readonly path: Path;
  /** Whether the layer defines a directory above, the root aside. */
  readonly isBelowDefined: boolean;
}
