/** A grouped image written to its destination: layers, config and manifest, and the plan's record; not yet visible. */
import type { LayerFormat } from '../registry/compress.ts';
import type { Destination, Document, Image } from '../registry/image.ts';
import { type Descriptor, formatPlatform } from '../registry/oci.ts';
import { ATTACHED_LIMIT, attachedRecord } from './attached.ts';
import { noticesBelow } from './below.ts';
import { layerFormat, type PartialPulls, settlePartialPulls } from './chunked.ts';
import type { Context } from './context.ts';
import { type ImageUpdate, measureUpdateFrom } from './diff/pull.ts';
import type { Grouping } from './grouping.ts';
import { knownLayers, type Sibling, withSiblings } from './known.ts';
import { checkLimits, type Exceeded, type ProfileChoice } from './limits.ts';
import type { Memory } from './memory.ts';
import { type MetadataOptions, writeConfig, writeManifest } from './metadata.ts';
import type { ParentsPolicy } from './parents.ts';
import type { Excuse } from './policy.ts';
import { proveEqual, type WrittenEntries } from './proof.ts';
import { formatRecord, type PlanRecord } from './record.ts';
import { type BuiltLayer, writeLayers } from './writer.ts';

/** One image that was built. */
export interface BuiltImage {
  readonly platform: string;
  readonly source: string;
  readonly digest: string;
  readonly compression: LayerFormat;
  /** Where zstd:chunked was asked for. */
  readonly partialPulls?: PartialPulls;
  readonly layers: readonly BuiltLayer[];
  readonly components: number;
  readonly entries: number;
  /** Compressed bytes of all layers' blobs. */
  readonly size: number;
  /** Compressed bytes of all layers of the source. */
  readonly sourceSize: number;
  /** Compressed bytes that were not at the destination yet. */
  readonly sentBytes: number;
  /** What nodes pull that have the previous image, where there is one. */
  readonly update?: ImageUpdate;
  readonly excuses: readonly Excuse[];
  /** What some consumers, or those of the profile, do not take. */
  readonly exceeded: readonly Exceeded[];
  /** Whether the result was read again and found equal. */
  readonly verified: boolean;
}

/** How an image is written. */
export interface WriteImageOptions extends MetadataOptions {
  readonly compression: LayerFormat;
  /** Whom the result is for: what that consumer refuses is an error. */
  readonly profile?: ProfileChoice | undefined;
  /** Which directories layers hold; default full. */
  readonly parents?: ParentsPolicy | undefined;
  /** Default: 3 for zstd, 6 for gzip. */
  readonly compressionLevel?: number | undefined;
  /** Earlier images, whose layers are used. */
  readonly memory: Memory;
  /** Images that were written before in this run. */
  readonly siblings?: readonly Sibling[] | undefined;
  /** Compresses every layer anew, whatever earlier images have. */
  readonly recompress?: boolean | undefined;
  /** Digests of earlier images' manifests whose fingerprints are believed, so that their layers are not even hashed. */
  readonly trusted?: readonly string[] | undefined;
  /** Reads the written image again and proves that it is equal. */
  readonly verify?: boolean | undefined;
  /** Does everything but store. */
  readonly dryRun?: boolean | undefined;
}

/** A written image: its manifest, and what is to be told of it. */
export interface Written {
  readonly document: Document;
  readonly config: Document;
  readonly built: BuiltImage;
  /** Whether that is all: no plan had to be attached, and nothing was settled with the destination. */
  readonly isWhole: boolean;
}

/** The same, with what nodes pull that have the first of the previous images. */
export function withUpdate(written: Written, { previous: [past] }: Memory): Written {
  const { document, config, built } = written;
  const documents = [document.descriptor, config.descriptor];
  const update = past && measureUpdateFrom(past.image, { layers: built.layers, documents });
  return update ? { ...written, built: { ...built, update } } : written;
}

/** Writes `image` as it was grouped; throws `different` where `verify` finds that it is not equal. */
export async function writeImage(
  image: Image,
  grouping: Grouping,
  destination: Destination,
  options: WriteImageOptions,
  context: Context,
): Promise<Written> {
  const { compressionLevel: level, dryRun, memory } = options;
  const { format: compression, refused } = layerFormat(options.compression, options.parents);
  if (refused !== undefined)
    context.onNotice?.(`layers are plain zstd, none can be pulled in part: ${refused}`);
  for (const excuse of grouping.excuses) context.onNotice?.(excuse.text);
  for (const notice of grouping.below ? noticesBelow(grouping.below) : [])
    context.onNotice?.(notice);
  const known = withSiblings(
    knownLayers(memory, { ...options, compression }),
    options.siblings ?? [],
    compression,
  );
  const how = { compression, level, dryRun, known, past: memory.previous };
  const stored = await writeLayers(grouping, destination, how, context);
  const settled =
    compression === 'zstd:chunked'
      ? await settlePartialPulls(stored, destination, { isStored: !dryRun }, context)
      : { layers: stored, partial: refused === undefined ? undefined : { layers: 0, refused } };
  const { layers, partial } = settled;
  const record = recordOf(grouping, layers);
  const diffIds = layers.map(({ diffId }) => diffId);
  const label = formatRecord(record, diffIds);
  const described = { ...options, base: grouping.below?.image };
  const config = writeConfig(image, layers, label?.text, described);
  const document = writeManifest(image, layers, config.descriptor, compression, described);
  const exceeded = checkLimits(document, options.profile);
  for (const { text } of exceeded) context.onNotice?.(text);
  context.onNotice?.(`digest ${document.descriptor.digest}`);
  if (!dryRun) await destination.putBytes(config.descriptor, config.bytes);
  const verified = Boolean(options.verify && !dryRun);
  if (verified) {
    const entries = entriesOf(grouping.stack, layers);
    const written = { document, config, entries };
    await proveEqual(image, grouping.tree, written, destination, options, context);
  }
  if (!label?.isWhole) {
    const text = formatRecord(record, diffIds, ATTACHED_LIMIT)?.text;
    await attach(text, label !== undefined, document.descriptor, destination, options, context);
  }
  const built = {
    ...summary(image, grouping, document, layers),
    compression,
    exceeded,
    verified,
    ...(partial && { partialPulls: partial }),
  };
  const isWhole = label?.isWhole === true && options.compression !== 'zstd:chunked';
  return { document, config, built, isWhole };
}

/** What is in each blob that was written. */
function entriesOf(stack: Grouping['stack'], layers: readonly BuiltLayer[]): WrittenEntries {
  const own = stack.flatMap((layer, i) => {
    const { digest = '' } = layers[i] ?? {};
    return layer.existing ? [] : [[digest, layer.entries] as const];
  });
  return new Map(own);
}

/** The record of what was written. */
function recordOf(grouping: Grouping, layers: readonly BuiltLayer[]): PlanRecord {
  const { digests, observed } = grouping.recollection;
  const recorded = layers.map(({ fingerprint, components }) => ({
    fingerprint,
    components: new Map(
      components.map((id) => [
        id,
        { digest: digests.get(id) ?? '', changes: observed.changes.get(id) ?? 0 },
      ]),
    ),
  }));
  return { observed: observed.updates, layers: recorded };
}

/** Stores the whole record, for which the label has no room, beside the image; where that cannot be, says what it costs. */
async function attach(
  text: string | undefined,
  isLabelled: boolean,
  subject: Descriptor,
  destination: Destination,
  { dryRun }: WriteImageOptions,
  context: Context,
): Promise<void> {
  if (text === undefined || !destination.attach) {
    const lost = isLabelled ? 'what changed from build to build' : 'where its components are';
    context.onNotice?.(`the plan is too long for a label: the next build will not know ${lost}`);
    return;
  }
  if (dryRun) return;
  const [record, config, manifest] = attachedRecord(text, subject);
  for (const { descriptor, bytes } of [record, config])
    await destination.putBytes(descriptor, bytes);
  await destination.attach(manifest);
}

function summary(
  image: Image,
  grouping: Grouping,
  document: Document,
  layers: readonly BuiltLayer[],
): Omit<BuiltImage, 'compression' | 'exceeded' | 'verified' | 'partialPulls'> {
  const sum = (sizes: readonly number[]): number => sizes.reduce((total, size) => total + size, 0);
  return {
    platform: formatPlatform(image.platform),
    source: image.manifestDocument.descriptor.digest,
    digest: document.descriptor.digest,
    layers,
    components: grouping.components.length,
    entries: grouping.tree.entries.length,
    size: sum([...new Map(layers.map(({ digest, size }) => [digest, size])).values()]),
    sourceSize: sum(image.layers.map((layer) => layer.descriptor.size)),
    sentBytes: sum(layers.map((layer) => (layer.reused ? 0 : layer.size))),
    excuses: grouping.excuses,
  };
}
