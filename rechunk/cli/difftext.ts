/** What differs between two images, in words: what the table for terminals and the Markdown have in common. */
import { type Cause, DIRECTORIES, type LayerChange, type LayerReason } from '../diff/layers.ts';
import type { ComponentChange, PackageChange } from '../diff/packages.ts';
import type { DiffReport, FileCounts } from '../library.ts';
import { formatSize, oneLine } from './values.ts';

/** How a name is shown: code in Markdown, text on one line elsewhere. */
export type ShowName = (name: string) => string;

/** What became of components that are no packages, where the word alone would not say. */
const KIND_WORDS: Readonly<Record<string, string>> = {
  content: 'changed',
  metadata: 'only metadata',
  times: 'only times',
};

/** What became of something, in words. */
export function describeKind(kind: string): string {
  return KIND_WORDS[kind] ?? kind;
}

/** `3 upgraded, 1 added`; '' for nothing. */
export function countKinds(kinds: Iterable<string>): string {
  const counts = new Map<string, number>();
  for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].map(([kind, count]) => `${count} ${describeKind(kind)}`).join(', ');
}

/** `1 file`, `2 directories`. */
export function countOf(count: number, noun: string): string {
  if (count === 1) return `1 ${noun}`;
  return `${count} ${noun.endsWith('y') ? `${noun.slice(0, -1)}ies` : `${noun}s`}`;
}

const FILE_WORDS = [
  ['added', 'added'],
  ['removed', 'removed'],
  ['content', 'with other content'],
  ['metadata', 'with other metadata'],
  ['times', 'with other times'],
] as const;

/** What differs of some files: `2 files added, 1 with other content`, `only times changed (7 files)`. */
export function describeCounts(files: FileCounts, noun = 'file'): string {
  const found = FILE_WORDS.filter(([kind]) => files[kind] > 0);
  const [only] = found;
  if (found.length === 1 && (only?.[0] === 'times' || only?.[0] === 'metadata'))
    return `only ${only[0]} changed (${countOf(files[only[0]], noun)})`;
  return found
    .map(([kind, words], i) => `${i === 0 ? countOf(files[kind], noun) : files[kind]} ${words}`)
    .join(', ');
}

/** A package change as it is shown: once, though it happened at several places of a tree. */
export interface ShownPackage {
  readonly change: PackageChange;
  readonly places: number;
}

/** The package changes to show, in their order; equal ones of one name are one line. */
export function gatherPackages(packages: readonly PackageChange[]): ShownPackage[] {
  const keyOf = ({ change, repo, name, from, to }: PackageChange): string =>
    JSON.stringify([change, repo, name, from, to]);
  return [...Map.groupBy(packages, keyOf).values()].flatMap((group) => {
    const [change] = group;
    return change ? [{ change, places: group.length }] : [];
  });
}

/** ` (3 places)`, or '' for one. */
export function describePlaces({ places }: ShownPackage): string {
  return places > 1 ? ` (${countOf(places, 'place')})` : '';
}

/** Version changes of each component, where all its packages went from one version to one other. */
export function listVersions(packages: readonly PackageChange[]): ReadonlyMap<string, string> {
  const versions = new Map<string, string>();
  for (const [component, changes] of Map.groupBy(packages, (change) => change.component)) {
    const texts = new Set(changes.map(describeVersions));
    const [text] = texts;
    if (texts.size === 1 && text) versions.set(component, text);
  }
  return versions;
}

/** `1.0 -> 1.1`, or the only version that there is. */
export function describeVersions({ from, to, change }: PackageChange): string {
  if (change === 'rebuilt' || from === undefined || to === undefined) return from ?? to ?? '';
  return `${from || 'no version'} -> ${to || 'no version'}`;
}

/** What differs of a component in a layer; `reason`, which the layer's line gives, is not said again. */
function describeCause(cause: Cause, reason: LayerReason | undefined): string {
  const { component, files, movedIn, from, movedOut, to } = cause;
  const noun = component === DIRECTORIES ? 'directory' : 'file';
  if (reason === 'times' || reason === 'metadata')
    return countOf(files.times + files.metadata, noun);
  const counts = describeCounts(files, noun);
  return [
    ...(counts ? [counts] : []),
    ...(movedIn > 0 ? [`${countOf(movedIn, 'file')} moved in from old ${listLayers(from)}`] : []),
    ...(movedOut > 0 ? [`${countOf(movedOut, 'file')} moved out to ${listLayers(to)}`] : []),
  ].join('; ');
}

function listLayers(layers: readonly number[]): string {
  return `${layers.length === 1 ? 'layer' : 'layers'} ${layers.join(', ')}`;
}

const REASONS: Readonly<Record<LayerReason, string>> = {
  content: '',
  moves: 'only moved: ',
  metadata: 'only metadata changed: ',
  times: 'only times changed: ',
  archive: 'no visible file differs, but how they are archived or what later layers hide',
};

/** Why a layer is not as it was: its `most` largest causes, and how many more there are. */
export function describeLayer(
  layer: LayerChange,
  versions: ReadonlyMap<string, string>,
  most: number,
  show: ShowName,
): string {
  const { state, reason, causes, old } = layer;
  if (state === 'recompressed') return `the content of old layer ${old} in another blob`;
  const shown = causes.slice(0, most).map((cause) => {
    const { component } = cause;
    const version = versions.get(component);
    const name = component === DIRECTORIES ? 'directories' : show(component);
    return `${name}${version ? ` ${oneLine(version)}` : ''}: ${describeCause(cause, reason)}`;
  });
  const more = causes.length - shown.length;
  const all = [...shown, ...(more > 0 ? [`and ${countOf(more, 'more component')}`] : [])];
  return `${REASONS[reason ?? 'content']}${all.join(' | ')}`;
}

/** Components that no line about packages tells of. */
export function otherComponents({ components, packages }: DiffReport): ComponentChange[] {
  const told = new Set(packages.map(({ component }) => component));
  return components.filter(({ id }) => !told.has(id));
}

/** The layers that are pulled, or all that are not shared where nothing can be pulled, the largest first. */
export function changedLayers({ layers }: DiffReport): LayerChange[] {
  return layers.filter(({ state }) => state !== 'shared').sort((a, b) => b.size - a.size);
}

/** What the update pulls, and the floor, one sentence each. */
export function describeUpdate({ update, floor, layers }: DiffReport): string[] {
  const least = `${formatSize(floor.files)} for the files that differ, ${formatSize(floor.components)} for the components that differ (one layer, zstd)`;
  if (!update) return [`the floor is ${least}`];
  const of = (pull: { layers: number; bytes: number }): string =>
    `${formatSize(pull.bytes)} in ${pull.layers} of ${countOf(layers.length, 'layer')}`;
  return [
    `a node that has the old image pulls ${of(update.byBlob)}, and ${formatSize(update.documents)} of manifest and config`,
    `with Docker's graph drivers it pulls ${of(update.byChain)}`,
    `the floor is ${least}`,
  ];
}
