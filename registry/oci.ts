/**
 * The OCI and Docker image formats as plain data: digests, descriptors, manifests, indexes and configs.
 *
 * Outside bytes are parsed here and nowhere else. Parsed objects are the JSON as it came (unknown fields survive), only
 * checked; the raw bytes are kept beside them by whoever read them, since a digest is of bytes.
 * Formats: image-spec v1.1.1; Docker image manifest v2, schema 2.
 */
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { RechunkError } from './errors.ts';

/** The digest of stored bytes, `algorithm:hex` (image-spec v1.1.1, descriptor.md "Digests"). */
export type Digest = `sha256:${string}` | `sha512:${string}`;

/** Media types that are read or written, by name. */
export const MEDIA = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  layerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  layerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  empty: 'application/vnd.oci.empty.v1+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  dockerSchema1: 'application/vnd.docker.distribution.manifest.v1+json',
  dockerSchema1Signed: 'application/vnd.docker.distribution.manifest.v1+prettyjws',
} as const;

/** Annotation keys that are read or written. */
export const ANNOTATION = {
  refName: 'org.opencontainers.image.ref.name',
  containerdName: 'io.containerd.image.name',
  created: 'org.opencontainers.image.created',
  baseName: 'org.opencontainers.image.base.name',
  baseDigest: 'org.opencontainers.image.base.digest',
  attestationType: 'vnd.docker.reference.type',
  attestationSubject: 'vnd.docker.reference.digest',
} as const;

/** Largest manifest or index that is read, bytes (distribution-spec v1.1.1 asks registries for at least 4 MiB). */
export const MANIFEST_LIMIT: number = 8 << 20;
/** Largest image config that is read, bytes. */
export const CONFIG_LIMIT: number = 64 << 20;

/** Free-form facts about a manifest, index, descriptor or layer. */
export type Annotations = Record<string, string>;

/** Operating system and processor that an image is for (image-spec v1.1.1, image-index.md). */
export interface Platform {
  os: string;
  architecture: string;
  variant?: string | undefined;
  'os.version'?: string | undefined;
  'os.features'?: string[] | null | undefined;
}

/** A reference to stored bytes: media type, digest and size in bytes (image-spec v1.1.1, descriptor.md). */
export interface Descriptor {
  mediaType: string;
  digest: Digest;
  size: number;
  annotations?: Annotations | null | undefined;
  platform?: Platform | undefined;
  artifactType?: string | undefined;
  urls?: string[] | null | undefined;
}

/** An image manifest, OCI or Docker schema 2; layers lowest first. */
export interface Manifest {
  schemaVersion: 2;
  mediaType?: string | undefined;
  config: Descriptor;
  layers: Descriptor[];
  annotations?: Annotations | null | undefined;
  artifactType?: string | undefined;
  subject?: Descriptor | null | undefined;
}

/** An image index, or a Docker manifest list. */
export interface Index {
  schemaVersion: 2;
  mediaType?: string | undefined;
  manifests: Descriptor[];
  annotations?: Annotations | null | undefined;
}

/** One step in an image's history; those with `empty_layer` made no layer. */
export interface History {
  created?: string | null | undefined;
  created_by?: string | null | undefined;
  comment?: string | null | undefined;
  author?: string | null | undefined;
  empty_layer?: boolean | null | undefined;
}

/** An image config (image-spec v1.1.1, config.md); `config` holds what a runtime needs. */
export interface ImageConfig {
  os: string;
  architecture: string;
  variant?: string | undefined;
  created?: string | null | undefined;
  config?:
    | {
        Labels?: Record<string, string> | null | undefined;
        Env?: string[] | null | undefined;
        Cmd?: string[] | null | undefined;
        Entrypoint?: string[] | null | undefined;
      }
    | null
    | undefined;
  rootfs: { type: 'layers'; diff_ids: Digest[] | null };
  history?: History[] | null | undefined;
}

const digestPattern = /^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

const digestSchema: v.GenericSchema<unknown, Digest> = v.custom<Digest>(
  (value) => typeof value === 'string' && digestPattern.test(value),
  (issue) => `got ${String(issue.received).slice(0, 80)}, want a sha256 or sha512 digest`,
);
/** Strings by name. Not valibot's record: that drops keys such as `constructor` without a word. */
const recordSchema: v.GenericSchema<unknown, Record<string, string>> = v.custom<
  Record<string, string>
>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((one) => typeof one === 'string'),
  () => 'want an object whose values are strings',
);
const annotationsSchema: v.GenericSchema<unknown, Annotations | null | undefined> =
  v.nullish(recordSchema);
const optionalString: v.GenericSchema<unknown, string | undefined> = v.optional(v.string());
const nullishString: v.GenericSchema<unknown, string | null | undefined> = v.nullish(v.string());
const nullishStrings: v.GenericSchema<unknown, string[] | null | undefined> = v.nullish(
  v.array(v.string()),
);

const platformSchema: v.GenericSchema<unknown, Platform> = v.looseObject({
  os: v.string(),
  architecture: v.string(),
  variant: optionalString,
  'os.version': optionalString,
  'os.features': nullishStrings,
});

const descriptorSchema: v.GenericSchema<unknown, Descriptor> = v.looseObject({
  mediaType: v.string(),
  digest: digestSchema,
  size: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  annotations: annotationsSchema,
  platform: v.optional(platformSchema),
  artifactType: optionalString,
  urls: nullishStrings,
});

const manifestSchema: v.GenericSchema<unknown, Manifest> = v.looseObject({
  schemaVersion: v.literal(2),
  mediaType: optionalString,
  config: descriptorSchema,
  layers: v.array(descriptorSchema),
  annotations: annotationsSchema,
  artifactType: optionalString,
  subject: v.nullish(descriptorSchema),
});

const indexSchema: v.GenericSchema<unknown, Index> = v.looseObject({
  schemaVersion: v.literal(2),
  mediaType: optionalString,
  manifests: v.array(descriptorSchema),
  annotations: annotationsSchema,
});

const historySchema: v.GenericSchema<unknown, History> = v.looseObject({
  created: nullishString,
  created_by: nullishString,
  comment: nullishString,
  author: nullishString,
  empty_layer: v.nullish(v.boolean()),
});

const configSchema: v.GenericSchema<unknown, ImageConfig> = v.looseObject({
  os: v.optional(v.string(), 'linux'),
  architecture: v.optional(v.string(), ''),
  variant: optionalString,
  created: nullishString,
  config: v.nullish(
    v.looseObject({
      Labels: v.nullish(recordSchema),
      Env: nullishStrings,
      Cmd: nullishStrings,
      Entrypoint: nullishStrings,
    }),
  ),
  rootfs: v.looseObject({
    type: v.literal('layers'),
    diff_ids: v.nullable(v.array(digestSchema)),
  }),
  history: v.nullish(v.array(historySchema)),
});

/** The sha256 digest of `bytes`. */
export function digestOf(bytes: Uint8Array | string): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** Returns `text` as a digest; throws `manifest` if it is none. */
export function parseDigest(text: string): Digest {
  if (digestPattern.test(text)) return text as Digest;
  throw new RechunkError('manifest', `got ${text.slice(0, 80)}, want a sha256 or sha512 digest`);
}

/** Whether `mediaType` is an image index or a Docker manifest list. */
export function isIndexType(mediaType: string): boolean {
  return mediaType === MEDIA.index || mediaType === MEDIA.dockerIndex;
}

/** Whether `mediaType` is an image manifest, OCI or Docker schema 2. */
export function isManifestType(mediaType: string): boolean {
  return mediaType === MEDIA.manifest || mediaType === MEDIA.dockerManifest;
}

/** Whether `mediaType` is an image config that holds layers (not an artifact's). */
export function isImageConfigType(mediaType: string): boolean {
  return mediaType === MEDIA.config || mediaType === MEDIA.dockerConfig;
}

/** Whether an index entry is a BuildKit attestation rather than an image. */
export function isAttestation(descriptor: Descriptor): boolean {
  return descriptor.annotations?.[ANNOTATION.attestationType] === 'attestation-manifest';
}

function parseJson<T>(schema: v.GenericSchema<unknown, T>, bytes: Uint8Array, what: string): T {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new RechunkError('manifest', `${what} is not JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const result = v.safeParse(schema, json);
  if (result.success) return result.output;
  const found = result.issues
    .slice(0, 5)
    .map((issue) => `${v.getDotPath(issue) ?? 'the document'}: ${issue.message}`)
    .join('; ');
  throw new RechunkError('manifest', `${what} is not valid: ${found}`);
}

/** A parsed manifest or index, told apart by `kind`. */
export type ManifestOrIndex =
  | { readonly kind: 'manifest'; readonly manifest: Manifest }
  | { readonly kind: 'index'; readonly index: Index };

/**
 * Parses the bytes of a manifest or an index. `mediaType` is what the descriptor or the registry says; where the body
 * names a type too they must agree, and a document that could be read as both is refused (image-spec CVE-2021-41190).
 */
export function parseManifest(
  bytes: Uint8Array,
  mediaType: string,
  what = 'the manifest',
): ManifestOrIndex {
  const shape = parseJson(v.looseObject({}), bytes, what) as Record<string, unknown>;
  const declared = typeof shape['mediaType'] === 'string' ? shape['mediaType'] : undefined;
  if ('fsLayers' in shape || shape['schemaVersion'] === 1) {
    throw new RechunkError(
      'unsupported',
      `${what} is a Docker schema 1 manifest; convert it first with \`skopeo copy --format oci\``,
    );
  }
  const type = declared ?? mediaType;
  if (
    declared &&
    mediaType &&
    declared !== mediaType &&
    (isIndexType(mediaType) || isManifestType(mediaType))
  ) {
    throw new RechunkError(
      'manifest',
      `${what} says it is ${declared}, but it was announced as ${mediaType}`,
    );
  }
  if ('manifests' in shape && ('layers' in shape || 'config' in shape)) {
    throw new RechunkError(
      'manifest',
      `${what} is ambiguous: it has the fields of an index and of a manifest`,
    );
  }
  if (isIndexType(type) || (!isManifestType(type) && 'manifests' in shape)) {
    return { kind: 'index', index: parseJson(indexSchema, bytes, what) };
  }
  return { kind: 'manifest', manifest: parseJson(manifestSchema, bytes, what) };
}

/** Parses the bytes of an image index. */
export function parseIndex(bytes: Uint8Array, what = 'the index'): Index {
  return parseJson(indexSchema, bytes, what);
}

/** Parses the bytes of an image config; the diffIDs are required, one for each layer. */
export function parseConfig(bytes: Uint8Array, what = 'the image config'): ImageConfig {
  return parseJson(configSchema, bytes, what);
}

/** `os/architecture[/variant]`, as `--platform` takes it; without control characters, which an image may bring. */
export function formatPlatform(platform: Platform): string {
  const parts = [platform.os, platform.architecture, platform.variant].filter(Boolean);
  return parts.join('/').replace(/\p{Cc}+/gu, ' ');
}

/** Names of processors that uname and Node use, and those of images. */
const ARCHITECTURES: ReadonlyMap<string, string> = new Map([
  ['x64', 'amd64'],
  ['x86_64', 'amd64'],
  ['aarch64', 'arm64'],
  ['ia32', '386'],
  ['ppc64', 'ppc64le'],
]);

/** Parses `os/architecture[/variant]`; a lone architecture means linux. */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/');
  if (parts.length === 1) parts.unshift('linux');
  const [os, architecture, variant] = parts;
  if (!os || !architecture || parts.length > 3) {
    throw new RechunkError('usage', `got platform '${text}', want os/architecture[/variant]`);
  }
  const name = ARCHITECTURES.get(architecture) ?? architecture;
  return variant ? { os, architecture: name, variant } : { os, architecture: name };
}

/** Default variants by architecture (containerd platforms/defaults, platforms.Normalize). */
const DEFAULT_VARIANT: Readonly<Record<string, string>> = { arm64: 'v8', arm: 'v7', amd64: 'v1' };

/** How well `candidate` serves `wanted`: undefined for not at all, else lower is better (0 is exact). */
export function matchPlatform(candidate: Platform, wanted: Platform): number | undefined {
  if (candidate.os !== wanted.os || candidate.architecture !== wanted.architecture)
    return undefined;
  const fallback = DEFAULT_VARIANT[wanted.architecture] ?? '';
  const level = (platform: Platform): number =>
    Number(/\d+/.exec(platform.variant ?? fallback)?.[0] ?? 0);
  if (
    candidate['os.version'] &&
    wanted['os.version'] &&
    candidate['os.version'] !== wanted['os.version']
  ) {
    return undefined;
  }
  const distance = level(wanted) - level(candidate);
  return distance < 0 ? undefined : distance;
}
