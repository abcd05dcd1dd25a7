/** What differs between two images as Markdown, fit for release notes and comments on pull requests (GFM). */
import type { DiffReport } from '../library.ts';
import {
  changedLayers,
  countKinds,
  describeCounts,
  describeKind,
  describeLayer,
  describePlaces,
  describeUpdate,
  gatherPackages,
  listVersions,
  otherComponents,
} from './difftext.ts';
import { code, table } from './markdown.ts';
import { formatSize } from './values.ts';

/** How much of each list is shown. */
export interface Limits {
  readonly packages: number;
  readonly components: number;
  readonly layers: number;
  /** Causes of each layer. */
  readonly causes: number;
}

/** How much a page shows. */
export const SHORT: Limits = { packages: 30, components: 10, layers: 10, causes: 3 };

/** The report as Markdown. */
export function formatMarkdown(report: DiffReport, limits: Limits): string {
  const { old, new: next } = report;
  const title = `### ${code(old.reference)} → ${code(next.reference)} (${code(next.platform)})`;
  return `${title}\n\n${formatChanges(report, limits)}`;
}

/** The same without a title. */
export function formatChanges(report: DiffReport, limits: Limits): string {
  const [pull = '', ...rest] = describeUpdate(report);
  return [
    `**${capitalize(pull)}.** ${rest.map((text) => `${capitalize(text)}.`).join(' ')}`,
    ...packageSection(report, limits),
    ...componentSection(report, limits),
    ...layerSection(report, limits),
    '',
  ].join('\n');
}

/** The same with a capital letter. */
export function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function packageSection({ packages }: DiffReport, limits: Limits): string[] {
  if (packages.length === 0) return ['', 'No package differs.'];
  const rows = gatherPackages(packages).map((shown) => {
    const { change, repo, name, from, to } = shown.change;
    const title = `${code(name)} (${repo})${describePlaces(shown)}`;
    return [change, title, code(from ?? ''), code(to ?? '')];
  });
  const counts = countKinds(packages.map(({ change }) => change));
  const head = ['', 'package', 'old', 'new'];
  return ['', `#### Packages: ${counts}`, '', ...table(head, rows, limits.packages)];
}

function componentSection(report: DiffReport, limits: Limits): string[] {
  const others = otherComponents(report);
  if (others.length === 0) return [];
  const rows = others.map(({ id, change, files }) => [
    code(id),
    describeKind(change),
    describeCounts(files),
  ]);
  const head = ['component', '', 'files'];
  const counts = countKinds(others.map(({ change }) => change));
  return ['', `#### Other components: ${counts}`, '', ...table(head, rows, limits.components)];
}

function layerSection(report: DiffReport, limits: Limits): string[] {
  const versions = listVersions(report.packages);
  const rows = changedLayers(report).map((layer) => [
    String(layer.layer),
    formatSize(layer.size),
    layer.state,
    describeLayer(layer, versions, limits.causes, code).replaceAll(' | ', '<br>'),
  ]);
  const counts = countKinds(report.layers.map(({ state }) => state));
  if (rows.length === 0) return ['', `#### Layers: ${counts}`];
  const head = ['layer', 'size', '', 'why'];
  return ['', `#### Layers: ${counts}`, '', ...table(head, rows, limits.layers)];
}
