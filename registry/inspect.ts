/**
 * An image config from a file that a user has at hand: raw OCI or Docker config JSON, or what `podman inspect`,
 * `buildah inspect --type image`, `skopeo inspect --config` and `docker inspect` print about an image.
 *
 * What a runtime needs (`Config`) is passed on as it is, unknown fields too; what describes the old image's storage is not.
 */
import { RechunkError } from './errors.ts';
import type { Annotations } from './oci.ts';

type Json = Record<string, unknown>;

/** What a config file says. */
export interface ConfigFile {
  /** The image config as JSON, not yet checked; its `rootfs` is the old image's, if any. */
  readonly config: Record<string, unknown>;
  /** Annotations of the manifest, where the file has them. */
  readonly annotations: Annotations;
}

/** Fields of an inspected image and what the config calls them (Docker's `ImageInspect`, podman's `ImageData`). */
const RENAMED: readonly (readonly [string, string])[] = [
  ['Created', 'created'],
  ['Author', 'author'],
  ['Architecture', 'architecture'],
  ['Variant', 'variant'],
  ['Os', 'os'],
  ['OsVersion', 'os.version'],
  ['OsFeatures', 'os.features'],
  ['Comment', 'comment'],
  ['Config', 'config'],
];

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null && value !== '';
}

function fail(what: string, problem: string): never {
  throw new RechunkError('usage', `${what} ${problem}`);
}

function parse(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new RechunkError('usage', `${what} is not JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** The one document of a file; inspect commands print an array with one for each image that was named. */
function only(json: unknown, what: string): Json {
  const documents = Array.isArray(json) ? json : [json];
  if (documents.length !== 1) fail(what, `describes ${documents.length} images, want one`);
  const document: unknown = documents[0];
  return isObject(document) ? document : fail(what, 'is no JSON object, want an image config');
}

function configOf(inspected: Json): Json {
  const config: Json = {};
  for (const [from, to] of RENAMED) if (isSet(inspected[from])) config[to] = inspected[from];
  // podman shows the health check beside `Config`, Docker within it.
  const check = inspected['Healthcheck'];
  if (isObject(config['config']) && isSet(check) && !isSet(config['config']['Healthcheck'])) {
    config['config'] = { ...config['config'], Healthcheck: check };
  }
  // Docker's fields of a build container say nothing of the image.
  if (Array.isArray(inspected['History'])) config['history'] = inspected['History'];
  return config;
}

/** podman and Docker inspect an image in capitals; a raw config has `architecture` or `rootfs`. */
function isInspected(document: Json): boolean {
  return isObject(document['RootFS']) || (isSet(document['Id']) && isSet(document['Architecture']));
}

function isContainer(document: Json): boolean {
  return isObject(document['State']) || isObject(document['HostConfig']);
}

function isManifest(document: Json): boolean {
  return Array.isArray(document['layers']) || Array.isArray(document['manifests']);
}

/**
 * What `buildah inspect` prints: the config as text, as the image has it, and beside it what buildah makes of that, without the fields that it
 * does not know. Of a container it is the config that a commit would have, so that the text, its base's, does not count.
 */
function fromBuildah(document: Json, known: Json, what: string): ConfigFile {
  const annotations = annotationsIn(document['ImageAnnotations']);
  const text = document['Config'];
  if (isSet(document['Container']) || typeof text !== 'string' || text === '') {
    return { config: known, annotations };
  }
  const config = parse(Buffer.from(text), `the config in ${what}`);
  return { config: isObject(config) ? config : known, annotations };
}

function annotationsIn(value: unknown): Annotations {
  return isObject(value) ? (value as Annotations) : {};
}

/**
 * Reads `bytes` as an image config or as inspected image; `what` names the file in messages. Throws `usage` for several
 * images, for a container, a manifest, and for anything else.
 */
export function parseConfigFile(bytes: Uint8Array, what: string): ConfigFile {
  const document = only(parse(bytes, what), what);
  if (isContainer(document)) {
    fail(what, 'describes a container, want an image: `podman inspect --type image NAME`');
  }
  if (isManifest(document)) {
    fail(what, 'is a manifest, want the image config: `skopeo inspect --config --raw IMAGE`');
  }
  if (isObject(document['OCIv1'])) return fromBuildah(document, document['OCIv1'], what);
  if (isInspected(document)) {
    return { config: configOf(document), annotations: annotationsIn(document['Annotations']) };
  }
  if (
    isObject(document['rootfs']) ||
    isSet(document['architecture']) ||
    isObject(document['config'])
  ) {
    return { config: document, annotations: {} };
  }
  return fail(what, 'is neither an image config nor an inspected image');
}
