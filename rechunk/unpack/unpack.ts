/**
 * Unpacks an image for overlayfs: each layer into a directory of its own, and how to mount them over each other.
 *
 * Layers are read and checked as for any other command, laid on each other by `overlay.ts`, cut down to what this process may
 * set by `fit.ts`, and written by `extractor.ts`.
 */
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { during, RechunkError } from '../../registry/errors.ts';
import { type Image, openImage, type PlatformChoice, type Source } from '../../registry/image.ts';
import type { Digest } from '../../registry/oci.ts';
import { DEFAULT_ENV, type Environment } from '../../registry/program.ts';
import { type Context, type RunOptions, withContext } from '../context.ts';
import { tellOddities } from '../flatten.ts';
import { type LoadedLayers, loadLayers } from '../load.ts';
import { unpackUpper } from '../upper.ts';
import { Warnings } from '../warnings.ts';
import { checkTar, extract, shield } from './extractor.ts';
import { describeLosses, Fitter, type Losses, noLosses, type Self } from './fit.ts';
import { type LayerPlan, type Namespace, Overlay } from './overlay.ts';
import { type Privilege, readPrivilege } from './privilege.ts';
import { withStage } from './stage.ts';

/** How an image is unpacked. */
export interface UnpackOptions extends PlatformChoice {
  /** In which namespace directories are marked that a layer implies, or marks itself; default: none is. */
  readonly markImplied?: Namespace | undefined;
  /** Gives those directories the metadata of the nearest lower layer that defines them without a mark; default false. */
  readonly resolve?: boolean | undefined;
  /** Where GNU tar is looked for; default {@link DEFAULT_ENV}. */
  readonly env?: Environment | undefined;
}

/** A layer and its directory. */
export interface UnpackedLayer {
  /** Name below the unpacked image's directory. */
  readonly directory: string;
  readonly digest: Digest;
  readonly diffId: Digest;
  /** Names in the directory, deletions too. */
  readonly entries: number;
  /** Directories that the layer has no entry for, the root too. */
  readonly implied: number;
  /** Directories that are marked to delegate their metadata. */
  readonly marked: number;
  /** Directories that have a lower layer's metadata. */
  readonly resolved: number;
}

/** An unpacked image. */
export interface UnpackedImage {
  readonly reference: string;
  readonly digest: Digest;
  readonly directory: string;
  /** Lowest first. */
  readonly layers: readonly UnpackedLayer[];
  /** The namespace of overlayfs's xattrs. */
  readonly xattrs: Namespace;
  /** Options for `mount -t overlay` in `directory`. */
  readonly mountOptions: string;
}

/** Digits of a directory's name. */
const NAME_DIGITS = 3;
/** Overlayfs mounts no single directory alone: below that of the only layer comes an empty one. */
const EMPTY = '0'.repeat(NAME_DIGITS);
/** Most lower directories (Linux: OVL_MAX_STACK). */
const STACK_LIMIT = 500;
/** Layers that are written at once: more do not help one disk. */
const WRITERS = 4;

/**
 * Unpacks the image `source` into `directory`, which is absent or an empty directory; the caller closes the source. The
 * directory appears when all is written. Throws `unsupported` without GNU tar or for marks that this user may not set.
 */
export async function unpack(
  source: Source,
  directory: string,
  options: UnpackOptions & RunOptions = {},
): Promise<UnpackedImage> {
  const { platform, hostPlatform, env = DEFAULT_ENV } = options;
  const privilege = readPrivilege();
  const namespace = namespaceOf(options, privilege);
  await checkTar(env);
  return withContext(options, async (context) => {
    const image = await openImage(source, { platform, hostPlatform });
    return during(`unpacking to ${directory}`, () =>
      withStage(directory, async (stage) => {
        const loaded = await loadLayers(image, context);
        const target: Target = { stage, privilege, namespace, env };
        const layers = await writeLayers(image, loaded, target, options, context);
        return {
          reference: source.reference,
          digest: image.manifestDocument.descriptor.digest,
          directory,
          layers,
          xattrs: namespace,
          mountOptions: await mountOptionsOf(layers, target, context),
        };
      }),
    );
  });
}

function namespaceOf({ markImplied }: UnpackOptions, { trusted }: Privilege): Namespace {
  if (markImplied === 'trusted' && !trusted) {
    throw new RechunkError(
      'unsupported',
      'marks in the namespace trusted are for root outside of user namespaces; mark in the namespace user',
    );
  }
  return markImplied ?? (trusted ? 'trusted' : 'user');
}

/** Where layers are written, and by whom. */
interface Target {
  readonly stage: string;
  readonly privilege: Privilege;
  readonly namespace: Namespace;
  readonly env: Environment;
}

async function writeLayers(
  image: Image,
  loaded: LoadedLayers,
  target: Target,
  options: UnpackOptions,
  context: Context,
): Promise<UnpackedLayer[]> {
  const warnings = new Warnings();
  const losses = noLosses();
  const overlay = new Overlay({
    namespace: target.namespace,
    mark: options.markImplied !== undefined,
    resolve: options.resolve ?? false,
  });
  const total = loaded.tarSizes.reduce((sum, size) => sum + size, 0);
  const writing = new Set<Promise<void>>();
  const failed = new AbortController();
  const signals = [failed.signal, ...(context.signal ? [context.signal] : [])];
  const signal = AbortSignal.any(signals);
  const layers: UnpackedLayer[] = [];
  await shield(target.stage, { env: target.env, owners: false, signal: context.signal });
  try {
    for (const [number, layer] of image.layers.entries()) {
      const index = loaded.layers[number];
      if (!index) throw new Error(`layer ${number} was not read`);
      const upper = unpackUpper(index, number, overlay.root, tellOddities(warnings));
      const plan = overlay.add(upper.root);
      const name = String(number + 1).padStart(NAME_DIGITS, '0');
      const { digest } = layer.descriptor;
      layers.push({ directory: name, digest, diffId: layer.diffId, ...countsOf(plan) });
      if (writing.size >= Math.min(WRITERS, context.pool.threads)) await Promise.race(writing);
      const written = during(index.name, () =>
        writeLayer(name, plan, total, { ...target, losses }, { ...context, signal }),
      );
      writing.add(written);
      written.then(
        () => writing.delete(written),
        () => {},
      );
    }
    await Promise.all(writing);
  } finally {
    // Nothing is removed while something still writes there.
    failed.abort();
    await Promise.allSettled(writing);
  }
  const notices = [...loaded.warnings, ...warnings.list(), describeLosses(losses)];
  for (const notice of notices) if (notice !== undefined) context.onNotice?.(notice);
  return layers;
}

function countsOf(plan: LayerPlan): Omit<UnpackedLayer, 'directory' | 'digest' | 'diffId'> {
  const { entries, implied, marked, resolved } = plan;
  return { entries: entries.length - 1, implied, marked, resolved };
}

async function writeLayer(
  name: string,
  plan: LayerPlan,
  total: number,
  { stage, privilege, env, losses }: Target & { readonly losses: Losses },
  context: Context,
): Promise<void> {
  const directory = join(stage, name);
  await mkdir(directory);
  const self: Self = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  const fitter = new Fitter(privilege, self, losses);
  await extract(directory, fitter.items(plan.entries), {
    env,
    owners: privilege.isOwner(self.uid),
    signal: context.signal,
    onBytes: (bytes) => context.onProgress?.({ step: 'write', bytes, total }),
  });
  for (const { path, mode } of fitter.lateModes.reverse()) {
    await chmod(Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(path, 'latin1')]), mode);
  }
}

async function mountOptionsOf(
  layers: readonly UnpackedLayer[],
  { stage, namespace }: Target,
  context: Context,
): Promise<string> {
  const lower = layers.map((layer) => layer.directory).reverse();
  if (lower.length < 2) {
    await mkdir(join(stage, EMPTY));
    lower.push(EMPTY);
  }
  if (lower.length > STACK_LIMIT) {
    context.onNotice?.(
      `overlayfs mounts at most ${STACK_LIMIT} directories over each other, and these are ${lower.length}`,
    );
  }
  return `lowerdir=${lower.join(':')}${namespace === 'user' ? ',userxattr' : ''}`;
}
