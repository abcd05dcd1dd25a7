/**
 * References as the ecosystem writes them, parsed and checked; nothing is opened here.
 *
 * Of `oci:`, `oci-archive:` and `docker-archive:` the first colon ends the path, as in skopeo and podman
 * (containers-transports(5)): a path holds no colon, a REF may hold colons and slashes. Names of repositories follow
 * distribution-spec v1.1.1 ("Pulling manifests") and Docker's short forms.
 */
import { RechunkError } from './errors.ts';
import { type Digest, parseDigest } from './oci.ts';

/** A repository in a registry, and which image of it; `host` is `docker.io` for Docker Hub. */
export interface RepositoryReference {
  readonly host: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

/** An image in the storage of podman, buildah and CRI-O. */
export interface StoredReference {
  /** Which storage, as containers-transports(5) writes it in brackets: `[driver@]graphroot[+runroot][:options]`. */
  readonly store?: string;
  /** `NAME[:TAG]`, an image's id, or both: `NAME@ID`, `@ID`. */
  readonly name: string;
}

/** What a reference names, by transport; `-` is an archive on standard input. */
export type Reference =
  | ({ readonly transport: 'docker' } & RepositoryReference)
  | {
      readonly transport: 'oci' | 'oci-archive' | 'docker-archive';
      readonly path: string;
      readonly ref?: string;
    }
  | { readonly transport: 'rootfs' | 'dir'; readonly path: string; readonly ref?: undefined }
  | ({ readonly transport: 'containers-storage' } & StoredReference)
  | { readonly transport: 'docker-daemon'; readonly name: string }
  | { readonly transport: '-' };

/** Longest `host/repository` (distribution-spec v1.1.1). */
const NAME_LIMIT = 255;
const TAG_PATTERN = /^\w[\w.-]{0,127}$/;
const PART_PATTERN = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const HOST_PATTERN =
  /^(?:\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*\.?)(?::\d{1,5})?$/;
/** image-spec v1.1.1, annotations.md, "org.opencontainers.image.ref.name". */
const REF_NAME_PATTERN =
  /^[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*(?:\/[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*)*$/;
/** A name and a password before a host, wherever they contain slashes or signs. */
const CREDENTIALS_PATTERN = /^([a-z-]+:\/\/)?[^@]*:.*@(?=[^/@]+\/)/s;
/** In place of a name in a layout or archive: a digest, or a position in its index. */
const SELECTOR_PATTERN = /^@(?:\d{1,9}|sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/** An image's id after its name, or alone. */
const ID_PATTERN = /@[0-9a-f]{64}$/;

/** Transports of other tools, and what to do instead. */
const FOREIGN: Readonly<Record<string, string>> = {
  ostree: 'copy the image first: `skopeo copy ostree:… oci:DIR:TAG`, then use oci:DIR:TAG',
  sif: 'convert it first: `skopeo copy sif:FILE oci:DIR:TAG`, then use oci:DIR:TAG',
};

/** The transports that exist, for messages. */
const WANTED =
  'want docker://host/repo:tag, oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF], containers-storage:NAME, docker-daemon:NAME, dir:DIR, rootfs:DIR or -';

/**
 * Parses a reference; a bare `host/repo:tag` is one of a registry. Throws `reference` for what no transport has, and
 * `unsupported`, with what to do instead, for transports of other tools.
 */
export function parseReference(text: string): Reference {
  if (text === '-') return { transport: '-' };
  if (text.startsWith('docker://')) {
    return { transport: 'docker', ...parseRepository(text.slice('docker://'.length)) };
  }
  const [, prefix = '', rest = ''] = /^([a-z][a-z0-9+-]*):(.*)$/s.exec(text) ?? [];
  if (prefix === 'oci' || prefix === 'oci-archive' || prefix === 'docker-archive') {
    return { transport: prefix, ...splitPath(text, rest) };
  }
  if (prefix === 'rootfs' || prefix === 'dir') {
    if (rest === '') throw badReference(text, 'the directory is missing');
    return { transport: prefix, path: rest };
  }
  if (prefix === 'containers-storage') return { transport: prefix, ...parseStored(text, rest) };
  if (prefix === 'docker-daemon') {
    parseRepository(rest);
    return { transport: prefix, name: rest };
  }
  const instead = FOREIGN[prefix];
  if (instead)
    throw new RechunkError('unsupported', `reading ${prefix}: is not possible yet; ${instead}`);
  if (rest.startsWith('//') || prefix === 'docker')
    throw badReference(text, 'no transport has that form');
  return { transport: 'docker', ...parseRepository(text) };
}

/** Writes a reference as `parseReference` reads it. */
export function formatReference(reference: Reference): string {
  if (reference.transport === '-') return '-';
  if (reference.transport === 'docker') return `docker://${formatRepository(reference)}`;
  if (reference.transport === 'docker-daemon') return `docker-daemon:${reference.name}`;
  if (reference.transport === 'containers-storage') {
    return `containers-storage:${formatStored(reference)}`;
  }
  const { transport, path, ref } = reference;
  return formatPath(transport, path, ref);
}

/** `transport:path[:ref]`. */
export function formatPath(transport: string, path: string, ref: string | undefined): string {
  return ref === undefined ? `${transport}:${path}` : `${transport}:${path}:${ref}`;
}

/** `[store]name`, as containers-transports(5) has it. */
export function formatStored({ store, name }: StoredReference): string {
  return store === undefined ? name : `[${store}]${name}`;
}

/** `host/repository[:tag][@digest]`. */
export function formatRepository(reference: RepositoryReference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${reference.host}/${reference.repository}${tag}${digest}`;
}

/**
 * Parses `[host/]repository[:tag][@digest]` with Docker's defaults: no host means docker.io, a single part there means
 * `library/`. A missing tag stays missing.
 */
export function parseRepository(text: string): RepositoryReference {
  if (CREDENTIALS_PATTERN.test(text)) {
    throw badReference(text, 'it holds credentials; log in instead, or pass --authfile');
  }
  const [name = '', ...digests] = text.split('@');
  if (digests.length > 1) throw badReference(text, 'it has more than one digest');
  const slash = name.lastIndexOf('/');
  const colon = name.indexOf(':', slash + 1);
  const tag = colon < 0 ? undefined : name.slice(colon + 1);
  if (tag !== undefined && !TAG_PATTERN.test(tag)) {
    throw badReference(text, `'${tag}' is no tag: up to 128 letters, digits, '_', '.' and '-'`);
  }
  const { host, repository } = splitHost(colon < 0 ? name : name.slice(0, colon));
  checkName(text, host, repository);
  return {
    host,
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digests[0] === undefined ? {} : { digest: checkDigest(text, digests[0]) }),
  };
}

/** The full name that Docker and podman would store for `text`: host, repository and tag; undefined if it is no name. */
export function normalizeName(text: string): string | undefined {
  try {
    const name = parseRepository(text);
    const { digest: _, ...rest } = { ...name, tag: name.tag ?? 'latest' };
    return formatRepository(rest);
  } catch {
    return undefined;
  }
}

/**
 * The full names that Docker and podman would store for `ref` and each of `tags`, which are tags of the same repository or full names.
 * Throws `reference` for a digest, and for a tag without a repository.
 */
export function storedNames(ref: string | undefined, tags: readonly string[]): readonly string[] {
  const base = ref === undefined ? undefined : parseRepository(ref);
  if (base?.digest) throw new RechunkError('reference', `'${ref}' has a digest, want NAME[:TAG]`);
  const names = base ? [formatRepository({ ...base, tag: base.tag ?? 'latest' })] : [];
  for (const tag of tags) {
    const name = /[/:]/.test(tag) ? normalizeName(tag) : base && formatRepository({ ...base, tag });
    if (name === undefined) {
      throw new RechunkError('reference', `the tag '${tag}' needs a repository; want NAME:TAG`);
    }
    names.push(name);
  }
  return [...new Set(names)];
}

/** Whether `text` may stand as `org.opencontainers.image.ref.name` (image-spec v1.1.1, annotations.md). */
export function isRefName(text: string): boolean {
  return REF_NAME_PATTERN.test(text);
}

/** Throws `reference` unless `tag` may name an image in a layout. */
export function checkRefName(tag: string): void {
  if (isRefName(tag)) return;
  throw new RechunkError(
    'reference',
    `'${tag}' cannot name an image in a layout; want letters and digits, with '-', '.', '_', ':', '@', '+' or '/' between them`,
  );
}

function splitHost(name: string): { host: string; repository: string } {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  if (!/[.:[]|^localhost$|[A-Z]/.test(first)) return hubName(name);
  const repository = name.slice(slash + 1);
  return /^(index\.|registry-1\.)?docker\.io$/.test(first)
    ? hubName(repository)
    : { host: first, repository };
}

function hubName(name: string): { host: string; repository: string } {
  return { host: 'docker.io', repository: name.includes('/') ? name : `library/${name}` };
}

function checkName(text: string, host: string, repository: string): void {
  if (!HOST_PATTERN.test(host)) throw badReference(text, `'${host}' is no host name`);
  const wrong = repository.split('/').find((part) => !PART_PATTERN.test(part));
  if (wrong !== undefined) {
    const hint = /[A-Z]/.test(wrong) ? '; names are lower-case' : '';
    throw badReference(text, `'${wrong}' is no part of a repository name${hint}`);
  }
  if (host.length + 1 + repository.length > NAME_LIMIT) {
    throw badReference(text, `the name has more than ${NAME_LIMIT} characters`);
  }
}

function checkDigest(text: string, digest: string): Digest {
  try {
    return parseDigest(digest);
  } catch (error) {
    throw badReference(text, (error as Error).message);
  }
}

function parseStored(text: string, rest: string): StoredReference {
  const [, store, name = ''] = /^(?:\[([^\]]*)\])?(.*)$/s.exec(rest) ?? [];
  const named = name.replace(ID_PATTERN, '');
  if (named !== '' || named === name) parseRepository(named);
  if (store === '') throw badReference(text, 'the brackets hold no storage');
  return store === undefined ? { name } : { store, name };
}

function splitPath(text: string, rest: string): { path: string; ref?: string } {
  const colon = rest.indexOf(':');
  const path = colon < 0 ? rest : rest.slice(0, colon);
  if (path === '') throw badReference(text, 'the path is missing');
  if (colon < 0) return { path };
  const ref = rest.slice(colon + 1);
  if (ref === '') return { path };
  if (isRefName(ref) || SELECTOR_PATTERN.test(ref)) return { path, ref };
  throw badReference(text, `'${ref}' is no name of an image in it (a path cannot hold a colon)`);
}

/** `text` with what it holds of credentials replaced, to be shown. */
export function withoutCredentials(text: string): string {
  return text.replace(CREDENTIALS_PATTERN, '$1***@');
}

function badReference(text: string, found: string): RechunkError {
  return new RechunkError(
    'reference',
    `reading the reference '${withoutCredentials(text)}': ${found}; ${WANTED}`,
  );
}
