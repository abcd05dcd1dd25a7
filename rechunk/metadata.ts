/**
 * The config and manifest of a rechunked image: the old ones edited in place, so that unknown fields survive, with what
 * describes the old layers taken out.
 *
 * Spec: image-spec v1.1.1, config.md and manifest.md.
 */
import { withoutIndex } from '../registry/chunked/footer.ts';
import type { Obstacle } from '../registry/chunked/rules.ts';
import { type LayerFormat, layerMediaType } from '../registry/compress.ts';
import type { Document, Image } from '../registry/image.ts';
import {
  ANNOTATION,
  type Annotations,
  type Descriptor,
  type Digest,
  digestOf,
  type History,
  MEDIA,
} from '../registry/oci.ts';
import { formatJson, parseJson } from './json.ts';
import { escapeId, PLAN_LABEL } from './record.ts';
import type { LayerRole } from './stack.ts';

/** A layer that was written, and what is in it. */
export interface WrittenLayer {
  /** Default content. */
  readonly role?: LayerRole | undefined;
  readonly diffId: Digest;
  /** Bytes of uncompressed tar. */
  readonly tarSize: number;
  readonly digest: Digest;
  /** Bytes of the blob. */
  readonly size: number;
  /** Component ids, sorted; none unless its role is content. */
  readonly components: readonly string[];
  /** Of the blob: those that it had in an earlier image, and what partial pulls of it need. */
  readonly annotations?: Annotations | undefined;
  /** Why it cannot be pulled in part, where that was asked for. */
  readonly obstacle?: Partial<Obstacle> | undefined;
}

/** What the user wants changed in the metadata. */
export interface MetadataOptions {
  /** `KEY=VALUE` sets a label, `KEY-` removes it, in order. */
  readonly labels?: readonly string[] | undefined;
  /** The same for manifest annotations. */
  readonly annotations?: readonly string[] | undefined;
  /** RFC 3339; default: what the image says. */
  readonly created?: string | undefined;
}

/** What decides config and manifest of a written image. */
export interface DescribeOptions extends MetadataOptions {
  /** The base whose layers are the lowest of the image; default none. */
  readonly base?: Image | undefined;
}

/** Keys of annotations that this program writes. */
export const OWN = {
  /** On a layer: the components in it, separated by spaces. */
  components: 'dev.rechunk.components',
  /** On a layer that holds no components: what it is for (`skeleton`, `whiteouts`). */
  role: 'dev.rechunk.role',
  /** On a layer that was to be zstd:chunked and cannot be: the kind of the obstacle. */
  obstacle: 'dev.rechunk.zstd-chunked.obstacle',
  /** On a manifest: the digest of the image that was rechunked. */
  source: 'dev.rechunk.source.digest',
  /** On a manifest: the base image that the original was built on, where its layers are no longer those of this image. */
  baseName: 'dev.rechunk.original.base.name',
  baseDigest: 'dev.rechunk.original.base.digest',
} as const;

/** Config fields that describe layers that are gone (BuildKit's inline cache, Docker's build container). */
export const STALE_CONFIG: readonly string[] = [
  'moby.buildkit.cache.v0',
  'moby.buildkit.buildinfo.v1',
  'container',
  'container_config',
  'id',
  'parent',
  'parent_id',
  'layer_id',
];
/** Characters of a list of components that go into one history entry. */
const HISTORY_CHARS = 200;
/** Bytes of component lists in all layer annotations of a manifest; registries must take manifests of 4 MiB. */
const ANNOTATION_BYTES = 256 << 10;

/** Applies `KEY=VALUE` and `KEY-` to a record, in order. */
function editRecord(
  record: Record<string, string>,
  edits: readonly string[],
): Record<string, string> {
  const result = new Map(Object.entries(record));
  for (const edit of edits) {
    const equals = edit.indexOf('=');
    if (equals > 0) result.set(edit.slice(0, equals), edit.slice(equals + 1));
    else result.delete(edit.replace(/-$/, ''));
  }
  return Object.fromEntries(result);
}

/** A list of component ids, escaped so that spaces only separate, cut to `limit` characters with the number left out. */
export function listComponents(components: readonly string[], limit: number): string {
  const ids = components.map(escapeId);
  let text = ids.join(' ');
  for (
    let shown = components.length;
    text.length > limit && shown > 0;
    shown = Math.floor(shown / 2)
  ) {
    text = `${ids.slice(0, shown >> 1).join(' ')} +${ids.length - (shown >> 1)}`.trim();
  }
  return text;
}

const ROLES: readonly LayerRole[] = ['content', 'skeleton', 'whiteouts', 'base'];

/**
 * What each layer of an image is for, as its annotations say; `base` for those below all that this program wrote, and undefined for
 * others that say nothing.
 */
export function rolesOf({ layers }: Image): (LayerRole | undefined)[] {
  const said = layers.map(({ descriptor: { annotations = {} } }): LayerRole | undefined => {
    const { [OWN.role]: role, [OWN.components]: components } = annotations ?? {};
    if (role !== undefined) return ROLES.find((known) => known === role);
    return components === undefined ? undefined : 'content';
  });
  const lowest = said.findIndex((role) => role !== undefined);
  return said.map((role, i) => (i < lowest ? 'base' : role));
}

/** The labels of a config, as a plain record. */
export function labelsOf(config: Image['config']): Record<string, string> {
  return config.config?.Labels ?? {};
}

/** The labels that the written image has. */
export function editLabels(image: Image, options: MetadataOptions): Record<string, string> {
  return editRecord(labelsOf(image.config), options.labels ?? []);
}

/** History entries of empty layers, kept, then one for each written layer; before them those of the base, if there is one. */
function editHistory(
  old: readonly History[],
  layers: readonly WrittenLayer[],
  { created, base }: DescribeOptions,
): History[] {
  const { below, rest } = base ? splitHistory(old, base) : { below: [], rest: old };
  const kept = rest.filter(isEmpty);
  const made = layers.slice(base?.layers.length ?? 0).map(
    (layer): History => ({
      ...(created === undefined ? {} : { created }),
      created_by: 'rechunk',
      comment: commentOf(layer),
    }),
  );
  return [...below, ...kept, ...made];
}

const isEmpty = (entry: History): boolean => entry.empty_layer === true;

function commentOf({ role = 'content', components }: WrittenLayer): string {
  if (role === 'content') return listComponents(components, HISTORY_CHARS);
  return role === 'skeleton' ? 'directories' : role;
}

/** The part of a history that is the base's, entries of empty layers too, where it starts with that; else what the base says of its layers. */
function splitHistory(
  old: readonly History[],
  { configDocument, layers }: Image,
): { readonly below: readonly History[]; readonly rest: readonly History[] } {
  const own = (parseJson(configDocument.bytes)['history'] ?? []) as History[];
  const made = own.filter((entry) => !isEmpty(entry));
  if (made.length !== layers.length)
    return { below: layers.map(() => ({ created_by: 'rechunk', comment: 'base' })), rest: old };
  const isStart = own.every((entry, i) => JSON.stringify(entry) === JSON.stringify(old[i]));
  if (!isStart) return { below: made, rest: old };
  return { below: own, rest: old.slice(own.length) };
}

/** The config of the written image: the old one with new layers, history, labels, creation time and the plan's `record`. */
export function writeConfig(
  image: Image,
  layers: readonly WrittenLayer[],
  record: string | undefined,
  options: DescribeOptions,
): Document {
  const config = parseJson(image.configDocument.bytes);
  for (const key of STALE_CONFIG) delete config[key];
  const created = options.created ?? image.config.created ?? undefined;
  if (created !== undefined) config['created'] = created;
  config['os'] ??= image.config.os;
  config['rootfs'] = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
  config['history'] = editHistory((config['history'] ?? []) as History[], layers, {
    ...options,
    created,
  });
  const { [PLAN_LABEL]: stale, ...labels } = editLabels(image, options);
  if (record !== undefined) labels[PLAN_LABEL] = record;
  if (record !== undefined || stale !== undefined || (options.labels ?? []).length > 0) {
    const inner = (config['config'] ?? {}) as Record<string, unknown>;
    config['config'] = { ...inner, Labels: labels };
  }
  const bytes = formatJson(config);
  return {
    descriptor: { mediaType: MEDIA.config, digest: digestOf(bytes), size: bytes.length },
    bytes,
  };
}

/** Whether a digest names the image or the index that it was chosen from; one that is not known may. */
function isDigestOf(digest: string | undefined, { manifestDocument, source }: Image): boolean {
  const known = [manifestDocument.descriptor.digest, source.root.descriptor.digest];
  return digest === undefined || known.some((one) => one === digest);
}

function editAnnotations(image: Image, options: DescribeOptions): Annotations {
  const {
    [ANNOTATION.baseName]: baseName,
    [ANNOTATION.baseDigest]: baseDigest,
    ...kept
  } = image.manifest.annotations ?? {};
  const own: Annotations = { ...kept };
  const { base } = options;
  const isNamed = base !== undefined && isDigestOf(baseDigest, base);
  if (baseName !== undefined) own[isNamed ? ANNOTATION.baseName : OWN.baseName] = baseName;
  if (baseDigest !== undefined && !isNamed) own[OWN.baseDigest] = baseDigest;
  if (base) own[ANNOTATION.baseDigest] = base.manifestDocument.descriptor.digest;
  if (options.created !== undefined && ANNOTATION.created in own)
    own[ANNOTATION.created] = options.created;
  own[OWN.source] = image.manifestDocument.descriptor.digest;
  return editRecord(own, options.annotations ?? []);
}

/** What the annotations of a written layer say: which components are in it, or what else it is for. */
function annotateLayer(layer: WrittenLayer, listChars: number): Annotations {
  const said = layer.annotations ?? {};
  const annotations: Record<string, string> = { ...withoutIndex(said) };
  // An earlier image may have had the same blob for something else.
  const { role = 'content', components } = layer;
  if (role === 'content') {
    delete annotations[OWN.role];
    annotations[OWN.components] = listComponents(components, listChars);
  } else {
    delete annotations[OWN.components];
    annotations[OWN.role] = role;
  }
  delete annotations[OWN.obstacle];
  if (layer.obstacle?.kind) annotations[OWN.obstacle] = layer.obstacle.kind;
  // Last, and in one order, wherever they came from.
  const index = Object.keys(said).filter((key) => !Object.hasOwn(withoutIndex(said), key));
  for (const key of index.sort()) annotations[key] = said[key] as string;
  return annotations;
}

/** The descriptor of a written layer, with the list of its components or its role. */
export function layerDescriptor(
  layer: WrittenLayer,
  compression: LayerFormat,
  listChars: number,
): Descriptor {
  return {
    mediaType: layerMediaType(compression),
    digest: layer.digest,
    size: layer.size,
    annotations: annotateLayer(layer, listChars),
  };
}

/**
 * The manifest of the written image: always OCI, the old annotations kept, layers described anew, but those of a base as its own
 * manifest does.
 */
export function writeManifest(
  image: Image,
  layers: readonly WrittenLayer[],
  config: Descriptor,
  compression: LayerFormat,
  options: DescribeOptions,
): Document {
  const manifest = parseJson(image.manifestDocument.bytes);
  const listChars = Math.max(64, Math.floor(ANNOTATION_BYTES / Math.max(1, layers.length)));
  manifest['mediaType'] = MEDIA.manifest;
  const { annotations } = image.manifest.config;
  manifest['config'] = { ...config, ...(annotations ? { annotations } : {}) };
  const { base } = options;
  const below = base ? (parseJson(base.manifestDocument.bytes)['layers'] as unknown[]) : [];
  const own = layers.slice(below.length);
  manifest['layers'] = [
    ...below,
    ...own.map((layer) => layerDescriptor(layer, compression, listChars)),
  ];
  manifest['annotations'] = editAnnotations(image, options);
  const bytes = formatJson(manifest);
  return {
    descriptor: { mediaType: MEDIA.manifest, digest: digestOf(bytes), size: bytes.length },
    bytes,
  };
}
