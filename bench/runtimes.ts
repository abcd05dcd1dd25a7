/**
 * The truth table: what each runtime makes of an image with odd directories, rechunked under each parents policy. Modelled for all
 * runtimes, and measured for those that are installed (as root; `test-images/runtimes`). `node bench/runtimes.ts [PART…]`, PART of
 * runtimes' ids, writes what was measured to `results/runtimes.json` and the table to `rechunk/README.md`; `--modelled` measures nothing and keeps what is there.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ComparedView, compareViews } from '../rechunk/runtimes/compare.ts';
import type { RuntimeModel } from '../rechunk/runtimes/model.ts';
import { MODELS, modelOf } from '../rechunk/runtimes/models.ts';
import { compareRuntimes } from '../rechunk/runtimes/report.ts';
import type { Tree } from '../rechunk/tree.ts';
import {
  buildRow,
  layersOfLayout,
  POLICY_ROWS,
  type PolicyRow,
  readLayout,
  writeOdd,
} from '../test-images/policies.ts';
import { modelFor, viewOfReal } from '../test-images/realview.ts';
import { closeRuntimes, type Runtime, runtimes, view } from '../test-images/runtimes/runtimes.ts';
import { markdownTable } from './reuse/table.ts';

/** Where the table is. */
export const README: string = fileURLToPath(new URL('../rechunk/README.md', import.meta.url));
const RESULTS = fileURLToPath(new URL('results/runtimes.json', import.meta.url));
const MARKS = ['<!-- runtimes -->', '<!-- /runtimes -->'] as const;

/**
 * What a runtime makes of an image; `right*` is right but for what no image can change; `leak` but for overlay attributes that a
 * container sees.
 */
export type Cell = 'right' | 'right*' | 'times' | 'leak' | 'wrong' | 'refused';

/** What was measured: by row, then by runtime. */
export interface Measured {
  readonly runtimes: Readonly<Record<string, string>>;
  readonly rows: Readonly<Record<string, Readonly<Record<string, Cell>>>>;
}

/** A row as the models have it. */
export interface ModelledRow {
  readonly row: PolicyRow;
  /** By the model's id. */
  readonly cells: Readonly<Record<string, Cell>>;
  /** Whether all content layers are the same blobs where a base gives a directory other metadata. */
  readonly isShared: boolean;
}

/** What stands in a cell for a view. */
export function cellOf({ verdict, differences, unfixable }: ComparedView): Cell {
  if (verdict === 'right') return unfixable.some(({ at }) => at !== '/') ? 'right*' : 'right';
  if (verdict === 'time') return 'times';
  const isLeak = verdict === 'wrong' && differences.every(({ what }) => what === 'leaked');
  return isLeak ? 'leak' : verdict;
}

async function contentOf(layout: string): Promise<string[]> {
  const layers = await layersOfLayout(layout);
  return layers.flatMap(({ digest, isSkeleton }) => (isSkeleton ? [] : [digest]));
}

/** Builds every row into `work/ROW` and asks the models. */
export async function modelRows(work: string): Promise<{ rows: ModelledRow[]; tree: Tree }> {
  const [odd, other] = [join(work, 'odd'), join(work, 'other')];
  await writeOdd(odd);
  await writeOdd(other, 'other');
  const { tree } = await readLayout(odd, work);
  const rows: ModelledRow[] = [];
  for (const row of POLICY_ROWS) {
    const [built, elsewhere] = [join(work, row.id), join(work, `${row.id}-other`)];
    await buildRow(odd, built, row, work);
    await buildRow(other, elsewhere, row, work);
    const { layers } = await readLayout(built, work);
    const cells = compareRuntimes(tree, layers).map((one) => [one.id, cellOf(one)] as const);
    const [mine, theirs] = [await contentOf(built), await contentOf(elsewhere)];
    const isShared = mine.every((digest, i) => digest === theirs[i]);
    rows.push({ row, cells: Object.fromEntries(cells), isShared });
  }
  return { rows, tree };
}

async function measureRow(runtime: Runtime, layout: string, tree: Tree): Promise<Cell | undefined> {
  const model = modelFor(runtime.id);
  if (!model) return undefined;
  const seen = await view(runtime, layout);
  return cellOf(compareViews(tree, viewOfReal(model, seen, tree)));
}

/** Measures every row in `work` with what is installed and has one of `parts` in its id, and keeps what `known` has of others. */
async function measure(
  work: string,
  tree: Tree,
  known: Measured,
  parts: readonly string[],
): Promise<Measured> {
  const installed = await runtimes();
  const all = installed.filter(
    ({ id }) => parts.length === 0 || parts.some((part) => id.includes(part)),
  );
  const rows = { ...known.rows };
  for (const { id } of POLICY_ROWS) {
    const cells = await Promise.all(
      all.map(async (runtime) => [runtime.id, await measureRow(runtime, join(work, id), tree)]),
    );
    rows[id] = { ...rows[id], ...Object.fromEntries(cells.filter(([, cell]) => cell)) };
  }
  const versions = all.map(({ id, version }) => [id, version]);
  return { runtimes: { ...known.runtimes, ...Object.fromEntries(versions) }, rows };
}

/** Shown in the first table; the others, of rootless and other forms, in the second. */
const MAIN = [
  'podman-overlay',
  'podman-chunked',
  'podman-composefs',
  'podman-vfs',
  'docker-overlay2',
  'containerd',
  'containerd-parallel',
  'umoci',
  'ostree',
  'composefs-rs',
  'delegating-overlay',
];

/** `right (m)`: measured, and the model says so too; where they disagree both are told. */
function showCell(modelled: Cell, measured: readonly Cell[]): string {
  if (measured.length === 0) return modelled;
  const others = [...new Set(measured)].filter((cell) => cell !== modelled);
  return others.length === 0 ? `${modelled} (m)` : `${others.join(', ')} (m), modelled ${modelled}`;
}

function measuredCells(measured: Measured, { id }: PolicyRow, model: RuntimeModel): Cell[] {
  const found = Object.entries(measured.rows[id] ?? {});
  return found.filter(([runtime]) => modelFor(runtime)?.id === model.id).map(([, cell]) => cell);
}

function table(rows: readonly ModelledRow[], measured: Measured, ids: readonly string[]): string {
  const models = ids.map((id) => modelOf(id) as RuntimeModel);
  const isMain = ids === MAIN;
  const body = rows.map(({ row, cells, isShared }) => [
    row.name,
    ...models.map((model) =>
      showCell(cells[model.id] as Cell, measuredCells(measured, row, model)),
    ),
    ...(isMain ? [isShared ? 'yes' : 'no'] : []),
  ]);
  return markdownTable([['layers', ...ids, ...(isMain ? ['shared between bases'] : [])], ...body]);
}

function notes(): string[] {
  return MODELS.filter(({ flaws }) => flaws.length > 0).map(
    ({ id, flaws }) => `* ${id}: ${flaws.map(({ why }) => why).join('; ')}`,
  );
}

/** The tables as they stand in the README. */
export function report(rows: readonly ModelledRow[], measured: Measured): string {
  const rest = MODELS.map(({ id }) => id).filter((id) => !MAIN.includes(id));
  return [
    table(rows, measured, MAIN),
    table(rows, measured, rest),
    '`*`: what no image can change, besides the root directory, and does not count:',
    notes().join('\n'),
  ].join('\n\n');
}

/** What the file has that was measured. */
export function readMeasured(): Measured {
  return JSON.parse(readFileSync(RESULTS, 'utf8'));
}

/** The part of the README that this program writes, and what is around it. */
export function splitReadme(text: string): readonly [string, string, string] {
  const [start, end] = MARKS.map((mark) => text.indexOf(mark)) as [number, number];
  if (start < 0 || end < 0) throw new Error(`${README} has no place for the table`);
  const from = start + MARKS[0].length;
  return [text.slice(0, from), text.slice(from, end), text.slice(end)];
}

async function main(parameters: readonly string[]): Promise<void> {
  if (!parameters.includes('--modelled') && process.geteuid?.() !== 0) {
    console.error(
      'bench/runtimes.ts: runtimes are measured as root; --modelled asks the models alone',
    );
    process.exitCode = 2;
    return;
  }
  const work = mkdtempSync('/var/tmp/rechunk-bench-');
  try {
    const { rows, tree } = await modelRows(work);
    const known = readMeasured();
    const isModelled = parameters.includes('--modelled');
    const measured = isModelled ? known : await measure(work, tree, known, parameters);
    const text = report(rows, measured);
    console.log(text);
    writeFileSync(RESULTS, `${JSON.stringify(measured, undefined, 2)}\n`);
    const [before, , after] = splitReadme(readFileSync(README, 'utf8'));
    writeFileSync(README, `${before}\n${text}\n${after}`);
  } finally {
    await closeRuntimes();
    rmSync(work, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));
