/**
 * Components that an image's builder named with extended attributes: `user.component` on a file, or on a directory for
 * all that lies below; the nearest one wins. `user.update-interval` on any of a component's entries says how often it
 * changes. Source: the README of chunkah 0.5, "Custom components".
 */
import { type Path, parentOf, showPath } from '../../registry/path.ts';
import type { Claim, ComponentInfo, ComponentRepo, Detection } from '../components.ts';
import type { Entry, Tree } from '../tree.ts';

const COMPONENT = 'user.component';
const INTERVAL = 'user.update-interval';
/** Longest name of a component, bytes (Linux: NAME_MAX). */
const NAME_LIMIT = 255;
/** Longest interval, days: a century. */
const INTERVAL_LIMIT = 36_525;

/** Days of the intervals that have a name. */
const NAMED_INTERVALS: ReadonlyMap<string, number> = new Map([
  ['daily', 1],
  ['weekly', 7],
  ['biweekly', 14],
  ['monthly', 30],
  ['quarterly', 90],
  ['yearly', 365],
]);

/** What the attributes of a tree say. */
interface Findings {
  readonly claims: Claim[];
  readonly names: Set<string>;
  /** Days by component name. */
  readonly intervals: Map<string, number>;
  readonly warnings: string[];
}

/** The text of an attribute; undefined where it is absent. A NUL or a newline at its end, as shells leave them, is cut. */
function readText({ inode }: Entry, name: string): string | undefined {
  const value = inode.xattrs.get(name);
  return (
    value &&
    Buffer.from(value)
      .toString('utf8')
      .replace(/[\0\n]+$/, '')
  );
}

/** Days of an interval as users write it: `7`, `weekly`; undefined for anything else. */
export function parseInterval(text: string): number | undefined {
  const days = /^\d{1,5}$/.test(text) ? Number(text) : NAMED_INTERVALS.get(text);
  return days !== undefined && days >= 1 && days <= INTERVAL_LIMIT ? days : undefined;
}

const isName = (name: string): boolean =>
  /^[^\s\x00-\x1f\x7f]+$/.test(name) && Buffer.byteLength(name) <= NAME_LIMIT;

/** The component that `entry` itself names; undefined (and a warning) where the name cannot be used. */
function ownComponent(entry: Entry, warnings: string[]): string | undefined {
  const name = readText(entry, COMPONENT);
  if (name === undefined || isName(name)) return name;
  warnings.push(
    `/${showPath(entry.path)}: ${COMPONENT} is ${JSON.stringify(name.slice(0, 80))}, want a name without spaces of at most ${NAME_LIMIT} bytes`,
  );
  return undefined;
}

function noteInterval(entry: Entry, component: string | undefined, findings: Findings): void {
  const text = readText(entry, INTERVAL);
  if (text === undefined) return;
  const at = `/${showPath(entry.path)}: ${INTERVAL} is ${JSON.stringify(text.slice(0, 80))}`;
  const days = parseInterval(text.trim());
  if (days === undefined) {
    const wanted = [...NAMED_INTERVALS.keys()].join(', ');
    findings.warnings.push(`${at}, want a number of days or one of ${wanted}`);
  } else if (component === undefined) {
    findings.warnings.push(`${at}, but it is in no component: set ${COMPONENT} too`);
  } else {
    const known = findings.intervals.get(component);
    if (known !== undefined && known !== days) {
      findings.warnings.push(
        `${at}, but another entry of component ${component} says ${known} days: the smaller one counts`,
      );
    }
    findings.intervals.set(component, Math.min(days, known ?? days));
  }
}

/** Parents come before what lies in them, so one pass hands components down. */
function read(tree: Tree): Findings {
  const findings: Findings = { claims: [], names: new Set(), intervals: new Map(), warnings: [] };
  const inherited = new Map<Path, string>();
  for (const entry of tree.entries) {
    const { path, inode } = entry;
    const own = inode.xattrs.size > 0 ? ownComponent(entry, findings.warnings) : undefined;
    const component = own ?? (path === '' ? undefined : inherited.get(parentOf(path)));
    if (inode.xattrs.size > 0) noteInterval(entry, component, findings);
    if (component === undefined) continue;
    if (inode.type === 'dir') inherited.set(path, component);
    if (inode.type === 'dir' && tree.list(path).length > 0) continue;
    findings.names.add(component);
    findings.claims.push({ path, component: `user:${component}`, strength: 'explicit' });
  }
  return findings;
}

async function detect(tree: Tree): Promise<Detection | undefined> {
  const { claims, names, intervals, warnings } = read(tree);
  if (claims.length === 0 && warnings.length === 0) return undefined;
  const components = [...names].sort().map((name): ComponentInfo => {
    const days = intervals.get(name);
    return {
      id: `user:${name}`,
      kind: 'user',
      ...(days !== undefined && { updateIntervalDays: days }),
    };
  });
  return { repo: 'xattr', components, claims, warnings };
}

/** Components named by `user.component` attributes (`user:NAME`); explicit claims, content is not asked. */
export const xattr: ComponentRepo = { name: 'xattr', detect };
