/**
 * What real runtimes show of each shape, as `measured.json` keeps it: every directory that is other than intended, and
 * everything else that is, its time left aside. `node test-images/runtimes/measure.ts [PART]… [shape=PART]…` measures
 * anew the runtimes whose ids have a part, on the shapes whose names have one (all by default), and keeps what the file has of others.
 */
import { writeFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Member, nanoseconds } from '../member.ts';
import { closeRuntimes, type Runtime, runtimes, view } from './runtimes.ts';
import { SHAPES, type Shape, writeShape } from './shapes.ts';
import type { MergedView, ViewEntry } from './view.ts';

/** What a runtime shows at a path, where that is other than intended. */
export interface Shown {
  /** The facts that differ; `there` where only one of the two has the path. */
  readonly differs: readonly Fact[];
  /** What is shown; absent where nothing is. */
  readonly shows?: {
    readonly type: string;
    /** Octal, four digits. */
    readonly mode: string;
    readonly uid: number;
    readonly gid: number;
    /** Values as text where they are printable, else as hex with `0x` before it. */
    readonly xattrs: Readonly<Record<string, string>>;
    /**
     * `exact` is the intended time, `now` the time of unpacking, `zero` the epoch, `layer N` the time in the member of the Nth layer
     * (from 0, the lowest); anything else is nanoseconds.
     */
    readonly time: string;
  };
}

type Fact = 'there' | 'type' | 'mode' | 'owner' | 'xattrs' | 'time' | 'content';

/** What a runtime makes of a shape. */
export type Result =
  | { readonly refused: string }
  | { readonly paths: Readonly<Record<string, Shown>> };

/** The file: results by shape, then by runtime. */
export interface Measured {
  readonly kernel: string;
  readonly runtimes: Readonly<Record<string, Omit<Runtime, 'id'>>>;
  readonly shapes: Readonly<Record<string, Readonly<Record<string, Result>>>>;
}

const FILE = fileURLToPath(new URL('measured.json', import.meta.url));

function valueText(hex: string): string {
  const text = Buffer.from(hex, 'hex').toString('latin1');
  return /^[ -~]*$/.test(text) ? text : `0x${hex}`;
}

function rootPath(path: string): string {
  return path === '.' ? '' : path;
}

function timeOf(
  shape: Shape,
  path: string,
  time: bigint,
  wanted: bigint | undefined,
  since: bigint,
): string {
  if (time === wanted) return 'exact';
  if (time >= since) return 'now';
  if (time === 0n) return 'zero';
  const layer = shape.layers.findIndex((members) =>
    members.some((member) => rootPath(member.path) === path && nanoseconds(member.mtime) === time),
  );
  return layer < 0 ? String(time) : `layer ${layer}`;
}

function sameXattrs(found: ViewEntry['xattrs'], wanted: Member['xattrs'] = {}): boolean {
  const text = (pairs: Iterable<readonly [string, string]>): string =>
    JSON.stringify([...pairs].sort());
  return (
    text(found) ===
    text(
      Object.entries(wanted).map(
        ([name, value]) => [name, Buffer.from(value, 'latin1').toString('hex')] as const,
      ),
    )
  );
}

function differences(found: ViewEntry, wanted: Member, inode: Member): Fact[] {
  const type = inode.type;
  const facts: readonly [Fact, boolean][] = [
    ['type', found.type === type],
    ['mode', found.mode === inode.mode],
    ['owner', found.uid === inode.uid && found.gid === inode.gid],
    ['xattrs', sameXattrs(found.xattrs, inode.xattrs)],
    ['time', wanted.type !== 'dir' || found.mtimeNs === nanoseconds(inode.mtime)],
    ['content', found.size === undefined || found.size === (inode.content ?? '').length],
  ];
  return facts.filter(([, same]) => !same).map(([fact]) => fact);
}

function shown(
  shape: Shape,
  path: string,
  wanted: Member | undefined,
  { entries, sinceNs }: MergedView,
): Shown | undefined {
  const found = entries.get(path);
  if (!found) return { differs: ['there'] };
  const target =
    wanted?.type === 'link'
      ? shape.intended.find((member) => member.path === wanted.target)
      : wanted;
  const differs = wanted && target ? differences(found, wanted, target) : (['there'] as const);
  if (differs.length === 0) return undefined;
  const time = timeOf(shape, path, found.mtimeNs, target && nanoseconds(target.mtime), sinceNs);
  const { type, uid, gid } = found;
  const mode = found.mode.toString(8).padStart(4, '0');
  const xattrs = Object.fromEntries([...found.xattrs].map(([name, hex]) => [name, valueText(hex)]));
  return { differs, shows: { type, mode, uid, gid, xattrs, time } };
}

/** What is other than intended in `view`; the root only where the shape says what it should be. */
export function compareView(shape: Shape, view: MergedView): Result {
  if (view.refused !== undefined) return { refused: view.refused };
  const intended = new Map(shape.intended.map((member) => [rootPath(member.path), member]));
  const paths = [...new Set([...intended.keys(), ...view.entries.keys()])].sort();
  const results = paths
    .filter((path) => path !== '' || intended.has(''))
    .map((path) => [path, shown(shape, path, intended.get(path), view)] as const);
  return {
    paths: Object.fromEntries(results.filter(([, differs]) => differs)) as Record<string, Shown>,
  };
}

/** What `runtime` makes of every shape, by the shape's name; `layouts` are theirs. */
export async function measureRuntime(
  runtime: Runtime,
  layouts: ReadonlyMap<string, string>,
  shapes: readonly Shape[] = SHAPES,
): Promise<ReadonlyMap<string, Result>> {
  const results = new Map<string, Result>();
  for (const shape of shapes) {
    const seen = await view(runtime, layouts.get(shape.name) as string);
    results.set(shape.name, compareView(shape, seen));
  }
  return results;
}

/** Layouts of every shape below `dir`, by the shape's name. */
export async function writeShapes(dir: string): Promise<ReadonlyMap<string, string>> {
  const layouts = new Map<string, string>();
  for (const shape of SHAPES) {
    layouts.set(shape.name, await writeShape(join(dir, shape.name), shape));
  }
  return layouts;
}

/** Calls `work` with every runtime, two at a time. */
export async function forEachRuntime(
  all: readonly Runtime[],
  work: (runtime: Runtime) => Promise<void>,
): Promise<void> {
  const queue = [...all];
  const worker = async (): Promise<void> => {
    for (let runtime = queue.shift(); runtime; runtime = queue.shift()) await work(runtime);
  };
  await Promise.all([worker(), worker()]);
}

/** What `work` gives for every runtime, by id; two are worked for at a time while results are waited for one by one. */
export function workAhead<T>(
  all: readonly Runtime[],
  work: (runtime: Runtime) => Promise<T>,
): ReadonlyMap<string, Promise<T>> {
  const settled = new Map(all.map(({ id }) => [id, Promise.withResolvers<T>()]));
  void forEachRuntime(all, async (runtime) => {
    const one = settled.get(runtime.id);
    one?.promise.catch(() => {});
    await work(runtime).then(one?.resolve, one?.reject);
  });
  return new Map([...settled].map(([id, { promise }]) => [id, promise]));
}

function placeOf(id: string, order: readonly string[]): number {
  const place = order.indexOf(id);
  return place < 0 ? order.length : place;
}

/** Puts the results of one runtime into the file. */
async function save(
  { id, ...rest }: Runtime,
  results: ReadonlyMap<string, Result>,
  order: readonly string[],
): Promise<void> {
  const known: Measured = JSON.parse(await readFile(FILE, 'utf8').catch(() => '{}'));
  const sorted = <Value>(values: Readonly<Record<string, Value>>): Record<string, Value> =>
    // Those that are not here come last.
    Object.fromEntries(
      Object.entries(values).sort(([a], [b]) => placeOf(a, order) - placeOf(b, order)),
    );
  const shapes = SHAPES.map(({ name }) => {
    const result = results.get(name);
    return [name, sorted({ ...known.shapes?.[name], ...(result && { [id]: result }) })] as const;
  });
  const measured: Measured = {
    kernel: (await readFile('/proc/sys/kernel/osrelease', 'utf8')).trim(),
    runtimes: sorted({ ...known.runtimes, [id]: rest }),
    shapes: Object.fromEntries(shapes),
  };
  writeFileSync(FILE, formatMeasured(measured));
}

const SHAPE = 'shape=';

/** Those whose names have one of `parts`; all where there are none. */
function choose<One>(all: readonly One[], nameOf: (one: One) => string, parts: string[]): One[] {
  return all.filter(
    (one) => parts.length === 0 || parts.some((part) => nameOf(one).includes(part)),
  );
}

async function main(parts: readonly string[]): Promise<void> {
  const all = await runtimes();
  const order = all.map(({ id }) => id);
  const shapeParts = parts.filter((part) => part.startsWith(SHAPE));
  const idParts = parts.filter((part) => !shapeParts.includes(part));
  const names = shapeParts.map((part) => part.slice(SHAPE.length));
  const shapes = choose(SHAPES, ({ name }) => name, names);
  const dir = await mkdtemp(join(tmpdir(), 'rechunk-shapes-'));
  try {
    const layouts = await writeShapes(dir);
    let saved = Promise.resolve();
    await forEachRuntime(
      choose(all, ({ id }) => id, idParts),
      async (runtime) => {
        const results = await measureRuntime(runtime, layouts, shapes);
        console.log(runtime.id, runtime.version);
        saved = saved.then(() => save(runtime, results, order));
        await saved;
      },
    );
  } finally {
    await closeRuntimes();
    await rm(dir, { recursive: true });
  }
}

/** JSON with one line for each path that is shown. */
function formatMeasured({ kernel, runtimes, shapes }: Measured): string {
  const lines = (entries: Iterable<readonly [string, string]>, indent: string): string => {
    const inner = [...entries].map(
      ([name, text]) => `\n${indent}  ${JSON.stringify(name)}: ${text}`,
    );
    return `{${inner.join(',')}${inner.length > 0 ? `\n${indent}` : ''}}`;
  };
  const map = <Value>(
    object: Readonly<Record<string, Value>>,
    indent: string,
    format: (value: Value) => string,
  ): string =>
    lines(
      Object.entries(object).map(([name, value]) => [name, format(value)]),
      indent,
    );
  const result = (one: Result): string =>
    'refused' in one
      ? JSON.stringify(one)
      : `{"paths": ${map(one.paths, '      ', (shown) => JSON.stringify(shown))}}`;
  const parts: [string, string][] = [
    ['kernel', JSON.stringify(kernel)],
    ['runtimes', map(runtimes, '  ', (one) => JSON.stringify(one))],
    ['shapes', map(shapes, '  ', (results) => map(results, '    ', result))],
  ];
  return `${lines(parts, '')}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));
