/**
 * What consumers of images refuse or cannot run, in numbers that a manifest tells, and profiles: what to ask of a build so that one
 * of them takes the result. Sources are named with each number; what was measured says where, in rechunk/README.md.
 */
import { compressionFor, type LayerFormat } from '../registry/compress.ts';
import { RechunkError } from '../registry/errors.ts';
import type { Compression, Document } from '../registry/image.ts';
import { type Descriptor, parseManifest } from '../registry/oci.ts';
import { formatSize } from './size.ts';

/** A limit, by name. */
export type LimitId =
  | 'docker-layers'
  | 'docker-zstd'
  | 'bootc-layers'
  | 'podman-layers'
  | 'storage-layers'
  | 'registry-layer'
  | 'registry-manifest';

/** A limit that an image exceeds. */
export interface Exceeded {
  readonly limit: LimitId;
  /** Layers, or bytes; of `docker-zstd` layers of that kind. */
  readonly found: number;
  /** The most that is taken. */
  readonly most: number;
  /** What breaks, in one sentence. */
  readonly text: string;
}

/** How a limit is measured, and what is told of more. */
interface Limit {
  readonly most: number;
  readonly measure: (image: Measured) => number;
  readonly tell: (found: number) => string;
}

/** What a manifest tells. */
export interface Measured {
  readonly layers: readonly Pick<Descriptor, 'mediaType' | 'size'>[];
  readonly manifestSize: number;
}

const countLayers = ({ layers }: Measured): number => layers.length;
const countZstd = ({ layers }: Measured): number =>
  layers.filter(({ mediaType }) => mediaType.includes('zstd')).length;
const largestLayer = ({ layers }: Measured): number =>
  layers.reduce((most, { size }) => Math.max(most, size), 0);

const LIMITS: Readonly<Record<LimitId, Limit>> = {
  // dockerd 20.10.24 and 26.1.5, measured: 125 layers load, 126 are `max depth exceeded`.
  'docker-layers': {
    most: 125,
    measure: countLayers,
    tell: (found) => `${found} layers: Docker’s overlay2 driver loads 125 at most`,
  },
  // dockerd 20.10.24, measured: `Error processing tar file`.
  'docker-zstd': {
    most: 0,
    measure: countZstd,
    tell: (found) => `${found} zstd layers: Docker before 23 reads none`,
  },
  // bootc 1.9.0 (coreos/chunkah 18f913e).
  'bootc-layers': {
    most: 128,
    measure: countLayers,
    tell: (found) => `${found} layers: bootc before 1.9.0 takes 128 at most`,
  },
  // podman 4.3.1, measured: it stores more and mounts none of it (`max depth exceeded`).
  'podman-layers': {
    most: 128,
    measure: countLayers,
    tell: (found) => `${found} layers: podman 4.3 stores more than 128 but cannot run them`,
  },
  // containers/storage, drivers/overlay (`maxDepth`).
  'storage-layers': {
    most: 500,
    measure: countLayers,
    tell: (found) => `${found} layers: podman, buildah, CRI-O and bootc run 500 at most`,
  },
  // GitHub's documentation of ghcr.io: 10 GB a layer, 10 minutes for its upload.
  'registry-layer': {
    most: 10e9,
    measure: largestLayer,
    tell: (found) =>
      `a layer of ${formatSize(found)}: ghcr.io takes 10 GB at most; --max-layer-size makes smaller ones`,
  },
  // distribution-spec v1.1.1, "Pushing Manifests": registries should take 4 MiB at least.
  'registry-manifest': {
    most: 4 << 20,
    measure: ({ manifestSize }) => manifestSize,
    tell: (found) => `a manifest of ${formatSize(found)}: registries need take no more than 4 MiB`,
  },
};

/** What every registry's users should know. */
const REGISTRIES: readonly LimitId[] = ['registry-layer', 'registry-manifest'];
/** What is told of where no profile says who it is for. */
const ANYWHERE: readonly LimitId[] = [
  'docker-layers',
  'bootc-layers',
  'podman-layers',
  'storage-layers',
  ...REGISTRIES,
];

/** What a consumer takes. */
export interface Profile {
  readonly name: string;
  /** Whom it is for, in a few words. */
  readonly about: string;
  readonly compression: LayerFormat;
  readonly maxLayers: number;
  /** Uncompressed bytes. */
  readonly maxLayerSize?: number;
  /** Limits that make a build fail. */
  readonly refuses: readonly LimitId[];
}

/** Layers that are left for what is built on top, of the 125 that Docker takes. */
const DOCKER_LAYERS = 120;

/** Every profile. */
export const PROFILES: readonly Profile[] = [
  {
    name: 'docker20',
    about: 'Docker before 23',
    compression: 'gzip',
    maxLayers: DOCKER_LAYERS,
    refuses: ['docker-layers', 'docker-zstd'],
  },
  {
    name: 'docker',
    about: 'Docker since 23',
    compression: 'zstd',
    maxLayers: DOCKER_LAYERS,
    refuses: ['docker-layers'],
  },
  {
    name: 'bootc',
    about: 'bootc since 1.1.3',
    compression: 'zstd',
    maxLayers: 128,
    refuses: ['bootc-layers'],
  },
  {
    name: 'podman',
    about: 'podman since 5, CRI-O',
    compression: 'zstd',
    maxLayers: 400,
    refuses: ['storage-layers'],
  },
  {
    name: 'ml',
    about: 'large images on Kubernetes: layers of 512 MiB that are pulled side by side',
    compression: 'zstd',
    maxLayers: DOCKER_LAYERS,
    maxLayerSize: 512 << 20,
    refuses: ['docker-layers'],
  },
];

/** The profile of that name; throws `usage` where there is none. */
export function parseProfile(name: string): Profile {
  const found = PROFILES.find((profile) => profile.name === name);
  if (found) return found;
  const names = PROFILES.map((profile) => profile.name).join(', ');
  throw new RechunkError('usage', `--profile: got '${name}', want one of ${names}`);
}

/** The limits that the image with this manifest exceeds: of `profile` and of registries, else of whoever may run it. */
export function exceededLimits(document: Document, profile?: Profile): readonly Exceeded[] {
  const { bytes, descriptor } = document;
  const parsed = parseManifest(bytes, descriptor.mediaType);
  if (parsed.kind === 'index') return [];
  const { layers } = parsed.manifest;
  return measureLimits({ layers, manifestSize: descriptor.size }, profile);
}

/** The limits that an image of these layers and this manifest exceeds; see {@link exceededLimits}. */
export function measureLimits(
  { layers, manifestSize }: Measured,
  profile?: Profile,
): readonly Exceeded[] {
  const ids = profile ? [...profile.refuses, ...REGISTRIES] : ANYWHERE;
  return ids.flatMap((limit) => {
    const { most, measure, tell } = LIMITS[limit];
    const found = measure({ layers, manifestSize });
    return found > most ? [{ limit, found, most, text: tell(found) }] : [];
  });
}

/** What is asked of a build by a profile. */
export interface ProfileChoice {
  readonly profile: Profile;
  /** What options ask for in spite of the profile: what comes of that is told, and not refused. */
  readonly overruled: readonly ('compression' | 'layers')[];
}

/** Throws `limit` for what the profile refuses, and gives everything that is to be told. */
export function checkLimits(
  document: Document,
  choice: ProfileChoice | undefined,
): readonly Exceeded[] {
  const exceeded = exceededLimits(document, choice?.profile);
  const refused = exceeded.filter(({ limit }) => choice && isRefused(limit, choice));
  if (refused.length === 0) return exceeded;
  throw new RechunkError(
    'limit',
    `--profile ${choice?.profile.name}: ${refused.map(({ text }) => text).join('; ')}`,
  );
}

function isRefused(limit: LimitId, { profile, overruled }: ProfileChoice): boolean {
  if (!profile.refuses.includes(limit)) return false;
  return !overruled.includes(limit === 'docker-zstd' ? 'compression' : 'layers');
}

/** The compression of layers that is asked for: by an option, else by the profile where `possible` has it, else none in particular. */
export function profiledCompression(
  asked: LayerFormat | undefined,
  choice: ProfileChoice | undefined,
  possible: readonly Compression[],
): LayerFormat | undefined {
  const { compression } = choice?.profile ?? {};
  const isPossible = compression !== undefined && possible.includes(compressionFor(compression));
  return asked ?? (isPossible ? compression : undefined);
}
