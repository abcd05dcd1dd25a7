/**
 * Bytes that updates pull, on update series of real packages (`series/`): `node bench/reuse.ts [--series NAME,…] [--layers N,…]`.
 * Results go to `bench/results/reuse.json` and the table in `bench/README.md`.
 *
 * A layer's compressed size is the sum of its components' (each measured alone), so that all ways of packing are counted alike. A
 * component is unchanged where all of its files are, times of installation apart.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type PlanItem, plan } from '../rechunk/plan.ts';
import { changeRate } from '../rechunk/rate.ts';
import { type ComponentFacts, loadSeries, type Release, SERIES } from './series/series.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** A packed layer: the states of its components, by id. */
type Layer = ReadonlyMap<string, ComponentFacts>;

/** Packs each release of a series in turn; may remember. */
interface Packer {
  pack(release: Release, layers: number): readonly Layer[];
}

/** Updates that a plan looks back on. */
const OBSERVED_UPDATES = 30;

function layerOf(release: Release, ids: readonly string[]): Layer {
  return new Map(ids.map((id) => [id, release.components.get(id) as ComponentFacts]));
}

function itemsOf(release: Release): PlanItem[] {
  return [...release.components].map(([id, facts]) => ({
    id,
    size: facts.compressedSize,
    tarSize: facts.size,
    rate: changeRate(facts, release.date),
  }));
}

function packFresh(): Packer {
  return {
    pack: (release, maxLayers) =>
      plan(itemsOf(release), { maxLayers }).layers.map(({ components }) =>
        layerOf(release, components),
      ),
  };
}

/** Remembers the last plan, and with `history` also what changed in each of the last updates. */
function packRemembering(memory: 'plan' | 'history'): Packer {
  let before: { release: Release; layers: readonly Layer[] } | undefined;
  const events = new Map<string, number[]>();
  let updates = 0;
  return {
    pack(release, maxLayers) {
      const home = new Map(
        before?.layers.flatMap((layer, i) => [...layer.keys()].map((id) => [id, i] as const)),
      );
      const isChanged = (id: string): boolean =>
        before?.release.components.get(id) !== release.components.get(id);
      if (before) {
        for (const id of release.components.keys()) {
          if (memory === 'history' && isChanged(id))
            events.set(id, [...(events.get(id) ?? []), updates]);
        }
        if (memory === 'history') updates++;
      }
      const first = Math.max(0, updates - OBSERVED_UPDATES);
      const items = itemsOf(release).map((item) => ({
        ...item,
        events: (events.get(item.id) ?? [])
          .filter((event) => event >= first)
          .map((event) => event - first),
        previous: home.get(item.id),
        changed: isChanged(item.id),
      }));
      const { layers } = plan(items, {
        maxLayers,
        observed: updates - first,
        previousLayers: before?.layers.map((layer) => layer.size),
      });
      const packed = layers.map(({ components }) => layerOf(release, components));
      before = { release, layers: packed };
      return packed;
    },
  };
}

/** Apko's and Nix's idea: the largest components alone, the rest together. */
function packLargest(): Packer {
  return {
    pack(release, maxLayers) {
      const ids = [...release.components.keys()].sort((a, b) => {
        const size = (id: string): number => release.components.get(id)?.compressedSize ?? 0;
        return size(b) - size(a) || (a < b ? -1 : 1);
      });
      const alone = ids.slice(0, maxLayers - 1).map((id) => layerOf(release, [id]));
      return [...alone, layerOf(release, ids.slice(maxLayers - 1))];
    },
  };
}

const PACKERS: Readonly<Record<string, () => Packer>> = {
  'largest alone': packLargest,
  'ours, fresh each time': packFresh,
  'ours, remembering the plan': () => packRemembering('plan'),
  'ours, and what changed when': () => packRemembering('history'),
};

function isSame(a: Layer, b: Layer): boolean {
  return a.size === b.size && [...a].every(([id, facts]) => b.get(id) === facts);
}

/** Compressed bytes of the layers of `next` that `previous` does not have. */
function pulled(previous: readonly Layer[], next: readonly Layer[]): number {
  const byFirst = new Map<ComponentFacts, Layer[]>();
  for (const layer of previous) {
    for (const facts of layer.values()) byFirst.set(facts, [...(byFirst.get(facts) ?? []), layer]);
  }
  const isThere = (layer: Layer): boolean => {
    const [first] = layer.values();
    return first !== undefined && (byFirst.get(first) ?? []).some((other) => isSame(layer, other));
  };
  const size = (layer: Layer): number =>
    [...layer.values()].reduce((sum, { compressedSize }) => sum + compressedSize, 0);
  return next.filter((layer) => !isThere(layer)).reduce((sum, layer) => sum + size(layer), 0);
}

interface Row {
  readonly series: string;
  readonly layers: number | undefined;
  readonly packing: string;
  /** Mean compressed bytes of an update. */
  readonly bytes: number;
  /** The same over the updates after the first ten. */
  readonly laterBytes: number;
}

function mean(values: readonly number[]): number {
  return Math.round(values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length));
}

/** Updates after which a plan that observes has something to go by. */
const WARM_UP = 10;

function rowOf(
  series: string,
  layers: number | undefined,
  packing: string,
  updates: readonly number[],
): Row {
  return {
    series,
    layers,
    packing,
    bytes: mean(updates),
    laterBytes: mean(updates.slice(WARM_UP)),
  };
}

/** Each changed component pulled once: what no packing of whole components can go below. */
function componentFloor(releases: readonly Release[]): number[] {
  return releases.slice(1).map((release, i) => {
    const before = new Set(releases[i]?.components.values());
    const changed = [...release.components.values()].filter((facts) => !before.has(facts));
    return changed.reduce((sum, { compressedSize }) => sum + compressedSize, 0);
  });
}

async function benchSeries(
  name: (typeof SERIES)[number],
  counts: readonly number[],
): Promise<Row[]> {
  const releases = await loadSeries(name);
  const rows = [rowOf(name, undefined, 'each changed component once', componentFloor(releases))];
  for (const count of counts) {
    for (const [packing, makePacker] of Object.entries(PACKERS)) {
      const packer = makePacker();
      const packed = releases.map((release) => packer.pack(release, count));
      const updates = packed.slice(1).map((layers, i) => pulled(packed[i] ?? [], layers));
      rows.push(rowOf(name, count, packing, updates));
      console.error(`${name} ${count} ${packing}: ${(mean(updates) / 1e6).toFixed(2)} MB`);
    }
  }
  return rows;
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(({ series, layers, packing, bytes, laterBytes }) => {
    const floor = rows.find((row) => row.series === series && row.layers === undefined);
    const ratio = floor ? (bytes / floor.bytes).toFixed(2) : '';
    return `| ${series} | ${layers ?? ''} | ${packing} | ${(bytes / 1e6).toFixed(2)} | ${(laterBytes / 1e6).toFixed(2)} | ${ratio} |`;
  });
  return [
    '| series | layers | packing | MB an update | after ten updates | of the floor |',
    '|---|---|---|---|---|---|',
    ...lines,
  ].join('\n');
}

const MARKS = ['<!-- reuse -->', '<!-- /reuse -->'] as const;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { series: { type: 'string' }, layers: { type: 'string' } },
  });
  const wanted = values.series?.split(',');
  const counts = (values.layers ?? '32,64,120').split(',').map(Number);
  const rows: Row[] = [];
  for (const name of SERIES) {
    if (!wanted || wanted.includes(name)) rows.push(...(await benchSeries(name, counts)));
  }
  console.log(table(rows));
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: root,
    encoding: 'utf8',
  }).trim();
  mkdirSync(join(root, 'bench/results'), { recursive: true });
  writeFileSync(
    join(root, 'bench/results/reuse.json'),
    `${JSON.stringify({ commit, rows }, null, 2)}\n`,
  );
  const file = join(root, 'bench/README.md');
  const text = readFileSync(file, 'utf8');
  const [start, end] = MARKS.map((mark) => text.indexOf(mark)) as [number, number];
  if (start < 0 || end < 0) throw new Error(`${file} has no place for the table`);
  const about = `\`node bench/reuse.ts\` at ${commit}; figures do not depend on the machine.`;
  writeFileSync(
    file,
    `${text.slice(0, start + MARKS[0].length)}\n${about}\n\n${table(rows)}\n${text.slice(end)}`,
  );
}

await main();
