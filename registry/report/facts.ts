/**
 * What a report needs of manifests, indexes and configs: a few plain facts, a hundredth of the bytes. They are a function of the
 * document's digest, so what was learnt once stays true for ever.
 */
import {
  ANNOTATION,
  type Descriptor,
  type Digest,
  formatPlatform,
  isAttestation,
  isImageConfigType,
  type Manifest,
  type Platform,
  parseConfig,
  parseManifest,
} from '../oci.ts';

/** A blob as a manifest names it; equal ones of one survey are one object. */
export interface BlobFacts {
  readonly digest: Digest;
  readonly size: number;
  readonly mediaType: string;
}

/** Of a manifest. */
export interface ManifestFacts extends BlobFacts {
  readonly kind: 'manifest';
  readonly config: BlobFacts;
  /** Lowest first. */
  readonly layers: readonly BlobFacts[];
  readonly subject?: Digest;
  /** Its artifact type, else its config's media type. */
  readonly type: string;
}

/** One entry of an index. */
export interface EntryFacts extends BlobFacts {
  readonly platform?: string;
  /** The entry that a BuildKit attestation is for. */
  readonly attests?: Digest;
}

/** Of an index. */
export interface IndexFacts extends BlobFacts {
  readonly kind: 'index';
  readonly entries: readonly EntryFacts[];
  readonly subject?: Digest;
}

/** Of an image config. */
export interface ConfigFacts {
  readonly kind: 'config';
  readonly digest: Digest;
  /** RFC 3339, as the config has it. */
  readonly created?: string;
  readonly platform: string;
  readonly diffIds: readonly Digest[];
  /** For each layer the step that made it, '' where the history does not say. */
  readonly createdBy: readonly string[];
}

/** Of any document that tags lead to. */
export type DocumentFacts = ManifestFacts | IndexFacts | ConfigFacts;

/** Longest `created_by` that is kept, chars. */
const STEP_LIMIT = 200;

/** Layers that no registry stores: base layers of Windows, and others that may not be distributed. */
export function isForeign({ mediaType }: { readonly mediaType: string }): boolean {
  return mediaType.includes('foreign') || mediaType.includes('nondistributable');
}

/** Tars of layers, compressed or not, of the image-spec and of Docker; but none that is encrypted. */
const LAYER_TYPE =
  /^application\/vnd\.(oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+(gzip|zstd))?|docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.(gzip|zstd))?)$/;

/** Whether a layer is of files: signatures and other artifacts that have an image's config have layers of anything. */
export function isLayerOfFiles({ mediaType }: { readonly mediaType: string }): boolean {
  return LAYER_TYPE.test(mediaType);
}

/** The facts of a manifest or an index; throws as `parseManifest` does. `what` is named in errors. */
export function manifestFacts(
  descriptor: Descriptor,
  bytes: Uint8Array,
  what: string,
): ManifestFacts | IndexFacts {
  const { digest, size, mediaType } = descriptor;
  const parsed = parseManifest(bytes, mediaType, what);
  const named = (parsed.kind === 'index' ? parsed.index : parsed.manifest).mediaType;
  const self = { digest, size, mediaType: named ?? mediaType };
  if (parsed.kind === 'manifest')
    return { kind: 'manifest', ...self, ...ofManifest(parsed.manifest) };
  const subject = (parsed.index as { subject?: Descriptor | null }).subject?.digest;
  return {
    kind: 'index',
    ...self,
    entries: parsed.index.manifests.map(entryFacts),
    ...(typeof subject === 'string' && { subject }),
  };
}

function blobFacts({ digest, size, mediaType }: Descriptor): BlobFacts {
  return { digest, size, mediaType };
}

function ofManifest(manifest: Manifest): Omit<ManifestFacts, 'kind' | keyof BlobFacts> {
  const { config, layers, subject, artifactType } = manifest;
  return {
    config: blobFacts(config),
    layers: layers.map(blobFacts),
    type: artifactType || config.mediaType,
    ...(subject && { subject: subject.digest }),
  };
}

/** `os/architecture[/variant]`; of Windows, which has an image for each of its releases, `windows(10.0.20348)/amd64`, as containerd writes it. */
function platformOf(platform: Platform): string {
  const [release] = /^\d+\.\d+\.\d+/.exec(String(platform['os.version'] ?? '')) ?? [];
  const { os } = platform;
  const isTold = os === 'windows' && release !== undefined;
  return formatPlatform(isTold ? { ...platform, os: `${os}(${release})` } : platform);
}

function entryFacts(entry: Descriptor): EntryFacts {
  const attests = isAttestation(entry)
    ? entry.annotations?.[ANNOTATION.attestationSubject]
    : undefined;
  return {
    ...blobFacts(entry),
    ...(entry.platform && { platform: platformOf(entry.platform) }),
    ...(isAttestation(entry) && { attests: (attests ?? entry.digest) as Digest }),
  };
}

/** The facts of an image config; throws as `parseConfig` does. */
export function configFacts(digest: Digest, bytes: Uint8Array, what: string): ConfigFacts {
  const config = parseConfig(bytes, what);
  const steps = (config.history ?? []).filter((step) => !step.empty_layer);
  const diffIds = config.rootfs.diff_ids ?? [];
  // A history of another length says nothing about any one layer.
  const told = steps.length === diffIds.length ? steps : [];
  return {
    kind: 'config',
    digest,
    ...(config.created && { created: config.created }),
    platform: platformOf(config),
    diffIds,
    createdBy: diffIds.map((_, i) => (told[i]?.created_by ?? '').slice(0, STEP_LIMIT)),
  };
}

/** Whether the config that a manifest names is an image's, so that there is something to learn from it. */
export function hasImageConfig({ config }: ManifestFacts): boolean {
  return isImageConfigType(config.mediaType);
}
