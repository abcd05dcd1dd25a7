/** `rechunk diff`: packages, components and layers that differ, and what the update pulls. */
import type { Command } from 'commander';
import { RechunkError } from '../../registry/errors.ts';
import type { Source } from '../../registry/image.ts';
import { type DiffReport, diff as diffImages } from '../library.ts';
import { addCacheOptions, cacheOptions } from './cache.ts';
import { formatMarkdown, type Limits, SHORT } from './diffmarkdown.ts';
import {
  changedLayers,
  countKinds,
  countOf,
  describeCounts,
  describeKind,
  describeLayer,
  describePlaces,
  describeUpdate,
  describeVersions,
  gatherPackages,
  listVersions,
  otherComponents,
} from './difftext.ts';
import {
  addComponentOptions,
  addRunOptions,
  componentOptions,
  type Host,
  option,
  platformOptions,
  type Values,
} from './options.ts';
import { say } from './say.ts';
import { noticeIndexes, print, withSession } from './session.ts';
import { formatSize, oneLine, parseSize } from './values.ts';

/** Adds the command to `program`. */
export function addDiff(program: Command, host: Host): void {
  const command = program
    .command('diff')
    .description(
      'packages, components and layers that differ, why, and what an update pulls; exit status 1 only if that is over --max-update-bytes',
    )
    .argument('<old>', 'the image that nodes have')
    .argument('<new>', 'the image that they update to')
    .addOption(option('--markdown', 'print Markdown, for release notes and pull requests'))
    .addOption(option('--all', 'list everything, not only what is largest'))
    .addOption(
      option('--max-update-bytes <size>', 'exit status 1 if the update pulls more blobs than that'),
    );
  addRunOptions(addCacheOptions(addComponentOptions(command))).action((old, next, values) =>
    diff(old, next, values, host),
  );
}

async function diff(old: string, next: string, values: Values, host: Host): Promise<void> {
  if (values['json'] === true && values['markdown'] === true)
    throw new RechunkError('usage', '--json and --markdown: want one of them');
  const limit = values['maxUpdateBytes'] as string | undefined;
  const budget = limit === undefined ? undefined : parseSize(limit, '--max-update-bytes');
  const cache = cacheOptions(values, host);
  const options = { ...componentOptions(values), ...platformOptions(values), cache };
  const report = await withSession(values, host, async (session) => {
    const sources = [await session.source(old), await session.source(next)] as const;
    if (budget !== undefined) sources.forEach(checkBlobs);
    noticeIndexes(sources, options, session);
    return diffImages(...sources, { ...session.run, ...options });
  });
  print(report, values, values['markdown'] === true ? inMarkdown(values) : inText(values));
  const pulled = report.update?.byBlob.bytes ?? 0;
  if (budget === undefined || pulled <= budget) return;
  const what = `the update pulls ${formatSize(pulled)} (${pulled} bytes)`;
  say('rechunk', `${what}, over --max-update-bytes ${budget}`);
  process.exitCode = 1;
}

function checkBlobs({ tree, reference }: Source): void {
  if (!tree) return;
  const found = `${reference} is a directory tree, which has no blobs to pull`;
  throw new RechunkError('usage', `--max-update-bytes: ${found}`);
}

const ALL: Limits = {
  packages: Number.POSITIVE_INFINITY,
  components: Number.POSITIVE_INFINITY,
  layers: Number.POSITIVE_INFINITY,
  causes: Number.POSITIVE_INFINITY,
};

const limitsOf = (values: Values): Limits => (values['all'] === true ? ALL : SHORT);

function inMarkdown(values: Values): (report: DiffReport) => string {
  return (report) => formatMarkdown(report, limitsOf(values));
}

function inText(values: Values): (report: DiffReport) => string {
  const limits = limitsOf(values);
  return (report) =>
    [
      `${report.old.reference} -> ${report.new.reference} ${report.new.platform}`,
      ...formatPackages(report, limits),
      ...formatComponents(report, limits),
      ...formatLayers(report, limits),
      ...describeUpdate(report),
      '',
    ].join('\n');
}

/** The first `most` rows, each a line of columns as wide as those need to be, and how many more there are. */
function shorten(rows: readonly (readonly string[])[], most: number): string[] {
  const more = rows.length - most;
  return [...align(rows.slice(0, most)), ...(more > 0 ? [`  … and ${more} more (--all)`] : [])];
}

function align(rows: readonly (readonly string[])[]): string[] {
  const widths = rows.reduce<number[]>((most, row) => {
    return row.map((cell, i) => Math.max(most[i] ?? 0, cell.length));
  }, []);
  return rows.map((row) =>
    `  ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd(),
  );
}

function formatPackages({ packages }: DiffReport, limits: Limits): string[] {
  const counts = countKinds(packages.map(({ change }) => change));
  const rows = gatherPackages(packages).map((shown) => {
    const { change } = shown;
    const versions = `${oneLine(describeVersions(change))}${describePlaces(shown)}`;
    return [change.change, oneLine(change.name), versions];
  });
  return [`packages: ${counts || 'none differs'}`, ...shorten(rows, limits.packages)];
}

function formatComponents(report: DiffReport, limits: Limits): string[] {
  const others = otherComponents(report);
  if (others.length === 0) return [];
  const rows = others.map(({ id, change, files }) => [
    oneLine(id),
    describeKind(change),
    describeCounts(files),
  ]);
  const counts = countKinds(others.map(({ change }) => change));
  return [`other components: ${counts}`, ...shorten(rows, limits.components)];
}

function formatLayers(report: DiffReport, limits: Limits): string[] {
  const versions = listVersions(report.packages);
  const changed = changedLayers(report);
  const rows = changed.map((layer) => {
    const why = describeLayer(layer, versions, limits.causes, oneLine);
    const number = String(layer.layer).padStart(3);
    return [number, formatSize(layer.size).padStart(8), `${layer.state}: ${why}`];
  });
  const gone = report.goneLayers.length;
  const counts = countKinds(report.layers.map(({ state }) => state));
  const lost = gone > 0 ? `; ${countOf(gone, 'layer')} of the old image gone` : '';
  return [`layers: ${counts}${lost}`, ...shorten(rows, limits.layers)];
}
