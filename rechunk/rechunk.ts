/**
 * The pipeline: an image is read and flattened, its files are grouped into components, components into layers; layers are
 * written, sent as they are finished, proved equal if asked, and made visible last.
 *
 * Everything that is needed is handed in (source, destination, clock, threads); nothing here reads the environment, prints or
 * exits.
 */
import { compressionFor, type LayerFormat } from '../registry/compress.ts';
import { RechunkError } from '../registry/errors.ts';
import {
  type Destination,
  type Document,
  type Image,
  openImage,
  openImageSet,
  type PlatformChoice,
  type Source,
} from '../registry/image.ts';
import { ANNOTATION, type Descriptor, digestOf, MEDIA } from '../registry/oci.ts';
import { checkBase, type OpenBase, openBase } from './below.ts';
import { noticeBound, noticeImage, noticeReferrers } from './bound.ts';
import { type Context, type RunOptions, withContext, withSpool } from './context.ts';
import { type GroupOptions, groupImage, overlayExcuse } from './grouping.ts';
import { formatJson, parseJson } from './json.ts';
import { type ProfileChoice, profiledCompression } from './limits.ts';
import { flattenLayers, loadLayers, loadTree } from './load.ts';
import { type MemorySources, openMemory } from './memory.ts';
import type { MetadataOptions } from './metadata.ts';
import type { Policy } from './policy.ts';
import { doOnce } from './repeat.ts';
import type { RuntimeModel } from './runtimes/model.ts';
import { compareRuntimes } from './runtimes/report.ts';
import { compareConfigs, compareTrees, intend, type Verification } from './verify.ts';
import { type BuiltImage, type Written, withUpdate, writeImage } from './write.ts';

/** What decides the bytes of the result. */
export interface BuildOptions extends GroupOptions, PlatformChoice {
  /** What earlier images tell. */
  readonly memory?: MemorySources | undefined;
  /** Opens the base whose layers stay, the lowest of the result; default: there is none. */
  readonly base?: OpenBase | undefined;
  /** Whom the result is for: what that consumer refuses is an error. */
  readonly profile?: ProfileChoice | undefined;
  /** Default: the profile's, or the first that the destination can hold. */
  readonly compression?: LayerFormat | undefined;
  /** Default: 3 for zstd, 6 for gzip. */
  readonly compressionLevel?: number | undefined;
  /** Rechunks every image of an index. */
  readonly allPlatforms?: boolean | undefined;
  /** Further tags that get the same digest. */
  readonly tags?: readonly string[] | undefined;
  /** Reads the written image again and proves that it is equal before it becomes visible. */
  readonly verify?: boolean | undefined;
  /** Compresses every layer anew, whatever earlier images have. */
  readonly recompress?: boolean | undefined;
  /** Digests of earlier images' manifests whose fingerprints are believed, so that their layers are not even hashed. */
  readonly trusted?: readonly string[] | undefined;
  /** Does everything but store. */
  readonly dryRun?: boolean | undefined;
  /** A text of all that decides the result besides images; with it and a cache, what was done before is not done again. */
  readonly request?: string | undefined;
}

/** What a build made. */
export interface BuildResult {
  /** Of the manifest, or of the index with `allPlatforms`. */
  readonly digest: string;
  readonly destination: string;
  readonly tags: readonly string[];
  readonly dryRun: boolean;
  readonly images: readonly BuiltImage[];
}

/** Rechunks the image (or index) `source` into `destination`; the caller closes both. */
export async function rechunk(
  source: Source,
  destination: Destination,
  options: BuildOptions & RunOptions = {},
): Promise<BuildResult> {
  const compression = chooseCompression(destination, options.compression, options.profile);
  return withContext(unlessProven(options), async (context) => {
    const built = options.allPlatforms
      ? await buildIndex(source, destination, compression, options, context)
      : await buildOne(source, destination, compression, options, context);
    const tags = options.tags ?? [];
    if (!options.dryRun) await destination.commit(built.root, tags);
    return {
      digest: built.root.descriptor.digest,
      destination: destination.reference,
      tags,
      dryRun: options.dryRun ?? false,
      images: built.images,
    };
  });
}

/** The run's options; what is proved is read, whatever is remembered of it. */
export function unlessProven(
  options: RunOptions & { readonly verify?: boolean | undefined },
): RunOptions {
  return options.verify ? { ...options, cache: undefined } : options;
}

/** The compression of layers that is asked for, else the profile's, else the first that the destination can hold. */
export function chooseCompression(
  destination: Destination,
  wanted: LayerFormat | undefined,
  profile: ProfileChoice | undefined,
): LayerFormat {
  const possible = destination.compressions;
  const chosen = profiledCompression(wanted, profile, possible) ?? possible[0];
  if (chosen && possible.includes(compressionFor(chosen))) return chosen;
  throw new RechunkError(
    'usage',
    `--compression ${wanted}: ${destination.reference} holds only ${possible.join(', ')}`,
  );
}

interface Built {
  readonly root: Document;
  readonly images: readonly BuiltImage[];
}

async function buildOne(
  source: Source,
  destination: Destination,
  compression: LayerFormat,
  options: BuildOptions,
  context: Context,
): Promise<Built> {
  const { platform, hostPlatform } = options;
  const image = await openImage(source, { platform, hostPlatform });
  await noticeImage(source, image, context);
  const { document, built } = await buildImage(image, destination, compression, options, context);
  return { root: document, images: [built] };
}

/** Rechunks every image of an index; order, platforms and annotations are kept, attestations of old digests are not. */
async function buildIndex(
  source: Source,
  destination: Destination,
  compression: LayerFormat,
  options: BuildOptions,
  context: Context,
): Promise<Built> {
  const set = await openImageSet(source);
  if (!set) return buildOne(source, destination, compression, options, context);
  if (!destination.holdsIndex) {
    throw new RechunkError(
      'usage',
      `--all-platforms: ${destination.reference} cannot hold an index of images`,
    );
  }
  await noticeReferrers(source, source.root.descriptor.digest, context);
  const known = new Set(set.members.map(({ descriptor }) => descriptor.digest as string));
  const images: BuiltImage[] = [];
  const manifests: Descriptor[] = [];
  for (const { descriptor, image } of set.members) {
    if (!image) {
      // An attestation, which is told of with its image if there is one.
      const subject = descriptor.annotations?.[ANNOTATION.attestationSubject] ?? '';
      if (!known.has(subject)) noticeBound(descriptor, subject || 'nothing here', context);
      continue;
    }
    await noticeReferrers(source, descriptor.digest, context);
    const { document, built } = await withSpool(context, (own) =>
      buildImage(image, destination, compression, options, own),
    );
    if (!options.dryRun) await destination.putBytes(document.descriptor, document.bytes);
    images.push(built);
    const { platform, annotations } = descriptor;
    manifests.push({
      ...document.descriptor,
      ...(annotations ? { annotations } : {}),
      platform: platform ?? image.platform,
    });
  }
  const index = parseJson(source.root.bytes);
  index['mediaType'] = MEDIA.index;
  index['manifests'] = manifests;
  const bytes = formatJson(index);
  const root = {
    descriptor: { mediaType: MEDIA.index, digest: digestOf(bytes), size: bytes.length },
    bytes,
  };
  return { root, images };
}

async function buildImage(
  image: Image,
  destination: Destination,
  compression: LayerFormat,
  options: BuildOptions,
  context: Context,
): Promise<Written> {
  const base = options.base && (await openBase(options.base, image));
  if (base) checkBase(base, destination);
  const memory = await openMemory(options.memory ?? {}, image.platform, context);
  const work = async (own: Context): Promise<Written> => {
    const grouping = await groupImage(image, { ...options, base, memory }, own);
    return writeImage(image, grouping, destination, { ...options, compression, memory }, own);
  };
  const { request, dryRun, recompress } = options;
  const isAlone = base === undefined && !dryRun && !recompress;
  const asked = isAlone && request !== undefined ? `${compression} ${request}` : undefined;
  const written = await doOnce({ options: asked, image, memory }, destination, work, context);
  return withUpdate(written, memory);
}

/** What decides whether two images count as equal. */
export interface VerifyOptions extends MetadataOptions, PlatformChoice {
  /** The image that the build inherited from; without it, inherited times are differences, marked as unproven. */
  readonly previous?: Source | undefined;
  readonly policy?: Policy | undefined;
  /** Runtimes whose view of the result is compared too; default none. */
  readonly runtimes?: readonly RuntimeModel[] | undefined;
}

/** Compares the images `original` and `result`: file systems and configs. */
export async function verify(
  original: Source,
  result: Source,
  options: VerifyOptions & RunOptions = {},
): Promise<Verification> {
  return withContext({ ...options, cache: undefined }, async (context) => {
    const { platform, hostPlatform, policy = {} } = options;
    const choice = { platform, hostPlatform };
    const [a, b] = [await openImage(original, choice), await openImage(result, choice)];
    const before = await loadTree(a, context);
    const { runtimes } = options;
    const layers = runtimes && (await loadLayers(b, { ...context, step: 'verify' }));
    const after = layers
      ? flattenLayers(layers)
      : await loadTree(b, { ...context, step: 'verify' });
    const past =
      options.previous &&
      (await loadTree(await openImage(options.previous, choice), { ...context, step: 'previous' }));
    for (const warning of new Set([...before.warnings, ...after.warnings]))
      context.onNotice?.(warning);
    const compared = await compareTrees(before.tree, after.tree, policy, past?.tree);
    const differences = [...compared.differences, ...compareConfigs(a, b, options)];
    const excuses = [...overlayExcuse(before), ...compared.excuses];
    const verification = { ...compared, equal: differences.length === 0, differences, excuses };
    if (!layers) return verification;
    const { wanted, timesOf } = await intend(before.tree, after.tree, policy, past?.tree);
    const views = compareRuntimes(wanted, layers.layers, runtimes, timesOf);
    return { ...verification, runtimes: views };
  });
}
