/** `rechunk plan`: components, layers and expected update bytes; writes nothing. */
import type { Command } from 'commander';
import type { RateSource } from '../evidence.ts';
import { drawPlan } from '../picture.ts';
import { type PlannedComponent, type PlanReport, plan as planImage } from '../preview.ts';
import type { LayerRole } from '../stack.ts';
import type { BaseReport, Way } from '../weigh.ts';
import { addBaseOption, baseOption } from './base.ts';
import { addCacheOptions, cacheOptions } from './cache.ts';
import { countOf } from './difftext.ts';
import { addMemoryOptions, openMemorySources } from './memory.ts';
import {
  addGroupOptions,
  addPolicyOptions,
  addRunOptions,
  groupOptions,
  type Host,
  metadataOptions,
  option,
  platformOptions,
  policyOptions,
  type Values,
} from './options.ts';
import { addParentsOptions, parentsOptions } from './parents.ts';
import { print, withSession } from './session.ts';
import { formatSize, oneLine } from './values.ts';
import { writeWhole } from './whole.ts';

/** Adds the command to `program`. */
export function addPlan(program: Command, host: Host): void {
  const command = program
    .command('plan')
    .description('show components, layers and expected update bytes; writes nothing')
    .argument('<source>', 'the image to read')
    .addOption(option('--all', 'list every component, below its layer'))
    .addOption(option('--svg <file>', 'draw layers and components as a treemap'));
  const grouped = addBaseOption(addParentsOptions(addGroupOptions(command)));
  addRunOptions(addCacheOptions(addPolicyOptions(addMemoryOptions(grouped)))).action(
    (source, values) => plan(source, values, host),
  );
}

async function plan(source: string, values: Values, host: Host): Promise<void> {
  const options = {
    ...groupOptions(values),
    parents: parentsOptions(values),
    ...metadataOptions(values, host),
    ...platformOptions(values),
    policy: policyOptions(values, host),
    cache: cacheOptions(values, host),
  };
  const result = await withSession(values, host, async (session) => {
    const memory = await openMemorySources(undefined, values, session);
    const base = baseOption(values, session);
    const how = { ...session.run, ...options, base, memory };
    return planImage(await session.source(source), how);
  });
  const svg = values['svg'] as string | undefined;
  if (svg !== undefined) await writeWhole(svg, drawPlan(result));
  print(result, values, (report) => format(report, values['all'] === true ? 'all' : 'short'));
}

/** Component names that a line shows. */
const SHOWN_COMPONENTS = 4;

/** Components by layer, 1 the lowest; the largest first. */
type Members = ReadonlyMap<number, readonly PlannedComponent[]>;

function format(report: PlanReport, length: 'short' | 'all'): string {
  const largestFirst = [...report.components].sort((a, b) => b.size - a.size);
  const members: Members = Map.groupBy(largestFirst, ({ layer }) => layer);
  const rows = report.layers.flatMap((_, i) =>
    formatLayer(report, i, members.get(i + 1) ?? [], length),
  );
  const { entries, components, layers, observed, now, base } = report;
  return [
    '   # estimated change  rests on                components',
    ...rows,
    `${entries} entries, ${components.length} components, ${layers.length} layers`,
    ...(observed > 0 ? [`${countOf(observed, 'update')} observed`] : []),
    `an update pulls about ${formatSize(report.updateBytes)} of ${formatSize(report.size)}, and ${formatSize(report.updateChainBytes)} with Docker's graph drivers`,
    ...(now
      ? [
          `now ${now.keptLayers} layers are kept (=), and clients pull ${formatSize(now.pullBytes)}, about ${formatSize(now.movedBytes)} of it for what moves; with Docker's graph drivers ${formatSize(now.chainBytes)}`,
        ]
      : []),
    ...(base ? formatBase(base) : []),
    '',
  ].join('\n');
}

/** What keeping the base loses or wins against flattening. */
function formatBase({ reference, layers, size, hidden, keep, flatten }: BaseReport): string[] {
  const row = (name: string, { layers: count, ...way }: Way): string => {
    const bytes = [way.size, way.pullBytes, way.updateBytes].map((one) => formatSize(one));
    return `${name.padEnd(8)}${String(count).padStart(6)}${bytes.map((one) => one.padStart(11)).join('')}`;
  };
  return [
    `the base ${reference}: ${countOf(layers, 'layer')}, ${formatSize(size)}; ${countOf(hidden.files, 'file')} of it, ${formatSize(hidden.compressedBytes)}, ${hidden.files === 1 ? 'is' : 'are'} pulled and not shown`,
    '        layers       size   pull now  an update  (a node that has the base)',
    row('keep', keep),
    row('flatten', flatten),
  ];
}

/** Columns that every line has: number or sign, size, chance, evidence. */
function columns(mark: string, size: number, changes: number, evidence: string): string {
  const percent = `${(changes / 10_000).toFixed(1)}%`;
  return `${mark.padStart(4)} ${formatSize(size).padStart(9)} ${percent.padStart(6)}  ${evidence.padEnd(23)}`;
}

/** What a chance rests on, in words. */
const SOURCES: Readonly<Record<RateSource, string>> = {
  stated: 'stated',
  changelog: 'changelog',
  build: 'build date',
  prior: 'prior',
};

/** Layers without components of ours, in words. */
const ROLES: Readonly<Record<Exclude<LayerRole, 'content'>, string>> = {
  skeleton: '(skeleton: directories)',
  whiteouts: '(whiteouts: what is deleted of the base)',
  base: '(the base’s)',
};

function formatLayer(
  { layers, observed }: PlanReport,
  i: number,
  members: readonly PlannedComponent[],
  length: 'short' | 'all',
): string[] {
  const layer = layers[i];
  if (!layer) return [];
  const mark = `${layer.previousLayer === undefined ? '' : '='}${i + 1}`;
  const { role } = layer;
  if (role !== 'content') {
    const evidence = role === 'base' ? 'its components' : SOURCES.prior;
    return [`${columns(mark, layer.size, layer.changes, evidence)} ${ROLES[role]}`];
  }
  const names = members.slice(0, SHOWN_COMPONENTS).map(({ id }) => oneLine(id));
  const more = members.length - names.length;
  const sources = [...new Set(members.map(({ source }) => SOURCES[source]))].sort();
  const evidence = [...(observed > 0 ? ['history'] : []), ...sources].join('+');
  const line = columns(mark, layer.size, layer.changes, evidence);
  if (length === 'all')
    return [line.trimEnd(), ...members.map((one) => formatComponent(one, observed))];
  return [`${line} ${names.join(' ')}${more > 0 ? ` +${more}` : ''}`];
}

function formatComponent(component: PlannedComponent, updates: number): string {
  const { id, size, changes, source, observed } = component;
  const seen = updates > 0 ? `changed ${observed}/${updates}, ` : '';
  return `${columns('', size, changes, `${seen}${SOURCES[source]}`)} ${oneLine(id)}`;
}
