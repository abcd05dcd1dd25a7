/**
 * Plans that other tools left in an image: which packages lie together in which layer. They seed our plan, so that what was
 * together stays together; their layers' bytes are others than ours, so clients pull all of them once.
 *
 * Sources: rpm-ostree and bootc write the layer annotation `ostree.components` (names separated by commas); chunkah writes
 * `org.chunkah.component` (`REPO/NAME` separated by spaces); hhd-dev/rechunk writes the config label `dev.hhd.rechunk.info` (JSON,
 * version 2, `layers` a list of lists of names, `meta:` and `dedi:` before some).
 */
import type { Image } from '../registry/image.ts';
import type { Component } from './components.ts';
import {
  LAYERS_LIMIT,
  type PlanRecord,
  type RecordedComponent,
  type RecordedLayer,
} from './record.ts';

/** Names of packages, by layer. */
export interface ForeignPlan {
  /** Who wrote it, as its key is called. */
  readonly key: string;
  readonly layers: readonly (readonly string[])[];
}

const HHD_LABEL = 'dev.hhd.rechunk.info';
const OSTREE_ANNOTATION = 'ostree.components';
const CHUNKAH_ANNOTATION = 'org.chunkah.component';
/** Names that are read from one plan; no image has as many packages. */
const NAMES_LIMIT = 100_000;

function isNames(value: unknown): value is readonly (readonly string[])[] {
  return (
    Array.isArray(value) &&
    value.every((layer) => Array.isArray(layer) && layer.every((name) => typeof name === 'string'))
  );
}

function readHhd(image: Image): ForeignPlan | undefined {
  const label = image.config.config?.Labels?.[HHD_LABEL];
  if (label === undefined) return undefined;
  try {
    const { layers } = JSON.parse(label) as { layers?: unknown };
    if (!isNames(layers)) return undefined;
    const strip = (name: string): string => name.trim().replace(/^(meta|dedi):/, '');
    return { key: HHD_LABEL, layers: layers.map((layer) => layer.map(strip)) };
  } catch {
    return undefined;
  }
}

function readAnnotations(image: Image, key: string, separator: string): ForeignPlan | undefined {
  const layers = image.layers.map(({ descriptor }) =>
    (descriptor.annotations?.[key] ?? '').split(separator),
  );
  return layers.some((names) => names.some(Boolean)) ? { key, layers } : undefined;
}

/** The plan of another tool in `image`, if there is one that can be read. */
export function readForeignPlan(image: Image): ForeignPlan | undefined {
  const found =
    readHhd(image) ??
    readAnnotations(image, OSTREE_ANNOTATION, ',') ??
    readAnnotations(image, CHUNKAH_ANNOTATION, ' ');
  if (!found || found.layers.flat().length > NAMES_LIMIT) return undefined;
  if (found.layers.length > LAYERS_LIMIT) return undefined;
  const layers = found.layers.map((names) =>
    names.map((name) => name.trim()).filter((name) => name !== '' && name !== 'null'),
  );
  return { ...found, layers: layers.filter((names) => names.length > 0) };
}

/** What another tool may call a component: its id without the repo, `REPO/NAME`, and the names of its packages. */
function namesOf({ id, packages = [] }: Component): string[] {
  const name = id.slice(id.indexOf(':') + 1);
  const repo = id.slice(0, Math.max(0, id.indexOf(':')));
  const binaries = packages.map((text) => text.split(' ')[0] ?? '');
  return [`${repo}/${name}`, name, ...binaries];
}

/** The plan in terms of our components, each where the first of its names lies; nothing is said of their content. */
export function translatePlan(plan: ForeignPlan, components: readonly Component[]): PlanRecord {
  const home = new Map<string, number>();
  plan.layers.forEach((names, number) => {
    for (const name of names) if (!home.has(name)) home.set(name, number);
  });
  const layers = plan.layers.map((): Map<string, RecordedComponent> => new Map());
  for (const component of components) {
    const name = namesOf(component).find((candidate) => home.has(candidate));
    const number = name === undefined ? undefined : home.get(name);
    if (number !== undefined) layers[number]?.set(component.id, { digest: FOREIGN, changes: 0 });
  }
  const whole = layers
    .filter((layer) => layer.size > 0)
    .map((layer): RecordedLayer => ({ fingerprint: '', components: layer }));
  return { observed: 0, layers: whole };
}

/** No component of ours has this digest, so each counts as changed: clients lack our layers whatever is in them. */
const FOREIGN = 'foreign plan';
