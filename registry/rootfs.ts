/**
 * `rootfs:DIR`: a directory tree as an image of one layer that is never written. Its config comes from a file, or is
 * empty; manifest and config are made here, so that readers see an image like any other. In place of a layer's blob
 * there is {@link DirectoryTree}.
 */
import { readFileSync, realpathSync, statfsSync, statSync } from 'node:fs';
import { type Listing, localPath, walk, withXattrs } from './directory.ts';
import { describe, RechunkError } from './errors.ts';
import {
  checkDocument,
  type DirectoryTree,
  type Document,
  HOST_PLATFORM,
  type Source,
} from './image.ts';
import { type ConfigFile, parseConfigFile } from './inspect.ts';
import {
  CONFIG_LIMIT,
  type Descriptor,
  type Digest,
  digestOf,
  MEDIA,
  type Platform,
  parseConfig,
} from './oci.ts';
import { type Path, showPath } from './path.ts';
import { DEFAULT_ENV, type Environment } from './program.ts';
import type { TarEntry } from './tar.ts';
import { readXattrs, type XattrReader } from './xattrs.ts';

/** How a directory tree is read. */
export interface RootfsOptions {
  /** File with the image config: raw OCI or Docker JSON, or what an inspect command printed. Default: an empty config. */
  readonly configFile?: string;
  /** What reads xattrs; default `auto`. `none` is `--no-xattrs`: capabilities and ACLs are left out. */
  readonly xattrs?: XattrReader;
  /** Environment of the programs that are run (their `PATH`); default {@link DEFAULT_ENV}. */
  readonly env?: Environment;
  /** The platform where no config says it; default this machine's processor, Linux. */
  readonly hostPlatform?: Platform;
  /** How messages name the image; default `rootfs:DIR`. */
  readonly reference?: string;
  /** Stops the reading. */
  readonly signal?: AbortSignal;
}

/** Stands for the digest and diffID of the one layer, which has no bytes: the digest of nothing. */
export const NO_BLOB: Digest = digestOf('');

/** File systems that the kernel makes up as they are read, by magic number (Linux: include/uapi/linux/magic.h). */
const KERNEL_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x9fa0, 'proc'],
  [0x62656572, 'sysfs'],
  [0x1cd1, 'devpts'],
  [0x27e0eb, 'cgroup'],
  [0x63677270, 'cgroup2'],
  [0x64626720, 'debugfs'],
  [0x74726163, 'tracefs'],
]);

function documentOf(json: unknown, mediaType: string): Document {
  const bytes = Buffer.from(JSON.stringify(json));
  return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, bytes };
}

function readConfigFile(file: string): ConfigFile {
  const { size } = statSync(file);
  if (size > CONFIG_LIMIT) {
    throw new RechunkError('limit', `${file} has ${size} bytes, at most ${CONFIG_LIMIT} are read`);
  }
  return parseConfigFile(readFileSync(file), file);
}

/** Config and manifest, and what was noticed. */
interface Documents {
  readonly config: Document;
  readonly manifest: Document;
  readonly warnings: readonly string[];
}

function makeDocuments(options: RootfsOptions): Documents {
  const platform = options.hostPlatform ?? HOST_PLATFORM;
  const warnings: string[] = [];
  const stated: ConfigFile = options.configFile
    ? readConfigFile(options.configFile)
    : { config: { config: {} }, annotations: {} };
  if (!options.configFile) {
    warnings.push('no --config was given: the image has no command, environment or labels');
  }
  const json = { ...stated.config, rootfs: { type: 'layers', diff_ids: [NO_BLOB] } };
  const complete = completePlatform(json, platform, warnings);
  const config = documentOf(complete, MEDIA.config);
  parseConfig(config.bytes, options.configFile ?? 'the empty config');
  const layer: Descriptor = { mediaType: MEDIA.layer, digest: NO_BLOB, size: 0 };
  const manifest = documentOf(
    {
      schemaVersion: 2,
      mediaType: MEDIA.manifest,
      config: config.descriptor,
      layers: [layer],
      ...(Object.keys(stated.annotations).length > 0 && { annotations: stated.annotations }),
    },
    MEDIA.manifest,
  );
  return { config, manifest, warnings };
}

/** The config with the platform that every image must have. */
function completePlatform(
  config: Record<string, unknown>,
  platform: Platform,
  warnings: string[],
): Record<string, unknown> {
  if (config['architecture']) return config['os'] ? config : { ...config, os: platform.os };
  const { os, architecture, variant } = platform;
  warnings.push(`no config says which platform this is for: ${os}/${architecture} is assumed`);
  return { ...config, os, architecture, ...(variant && { variant }) };
}

function mountWarnings(root: string, { mounts }: Listing): string[] {
  const names = ['' as Path, ...mounts].flatMap((path) => {
    const name = KERNEL_FILE_SYSTEMS.get(statfsSync(localPath(root, path)).type);
    return name ? [`/${showPath(path)} (${name})`] : [];
  });
  if (names.length === 0) return [];
  return [
    `made up by the kernel and read as part of the tree, unmount them first: ${names.join(', ')}`,
  ];
}

function xattrWarnings(entries: readonly TarEntry[], reader: XattrReader): string[] {
  if (reader === 'none') {
    return ['extended attributes were not read: capabilities and ACLs are left out (--no-xattrs)'];
  }
  const labels = entries.filter(({ xattrs }) => xattrs.has('security.selinux')).length;
  if (labels === 0) return [];
  return [
    `${labels} entries carry security.selinux, which may be this machine's; --drop-xattr security.selinux leaves it out`,
  ];
}

/** The absolute path of `dir` without symlinks, one char a byte. */
function locateRoot(dir: string): { readonly text: string; readonly bytes: string } {
  const bytes = realpathSync(dir, { encoding: 'buffer' });
  const text = bytes.toString('utf8');
  if (!Buffer.from(text).equals(bytes)) {
    throw new RechunkError(
      'unsupported',
      `${dir} lies below a directory whose name is not UTF-8; mount or move it elsewhere`,
    );
  }
  if (!statSync(text).isDirectory()) throw new RechunkError('usage', `${dir} is no directory`);
  return { text, bytes: bytes.toString('latin1') };
}

async function readTree(
  dir: string,
  options: RootfsOptions,
): Promise<{ tree: DirectoryTree; warnings: string[] }> {
  const root = locateRoot(dir);
  const reader = options.xattrs ?? 'auto';
  // Settled together, so that no program outlives a walk that failed.
  const [listing, xattrs] = await Promise.allSettled([
    walk(root.bytes, options.signal ? { signal: options.signal } : {}),
    readXattrs(root.text, reader, options.env ?? DEFAULT_ENV),
  ]);
  if (listing.status === 'rejected') throw listing.reason;
  if (xattrs.status === 'rejected') throw xattrs.reason;
  const entries = withXattrs(listing.value.entries, xattrs.value);
  const locate = (path: Path): string => localPath(root.bytes, path).toString('latin1');
  const warnings = [...mountWarnings(root.text, listing.value), ...xattrWarnings(entries, reader)];
  return { tree: { entries, locate }, warnings };
}

/**
 * Opens the directory tree `dir` as a Source of one image with one layer, whose descriptor and diffID stand for nothing
 * ({@link NO_BLOB}): `blob` throws, `tree` has the entries. They are read at once, content later: who reads a file must
 * find the size and mtime of its entry, or it changed meanwhile. Throws `unsupported` for sockets and where xattrs
 * cannot be read, `io` for what is unreadable, `usage` for a config file that is none.
 */
export async function openRootfs(dir: string, options: RootfsOptions = {}): Promise<Source> {
  const reference = options.reference ?? `rootfs:${dir}`;
  try {
    const { config, manifest, warnings } = makeDocuments(options);
    const read = await readTree(dir, options);
    return sourceOf(reference, [manifest, config], read.tree, [...warnings, ...read.warnings]);
  } catch (error) {
    throw describe(`reading ${reference}`, error);
  }
}

function sourceOf(
  reference: string,
  documents: readonly [Document, Document],
  tree: DirectoryTree,
  warnings: readonly string[],
): Source {
  return {
    reference,
    root: documents[0],
    tree,
    warnings,
    async document(descriptor) {
      const found = documents.find((document) => document.descriptor.digest === descriptor.digest);
      if (!found) throw new RechunkError('not-found', `${reference} has no ${descriptor.digest}`);
      return checkDocument(descriptor, found.bytes, reference);
    },
    async blob(descriptor) {
      throw new RechunkError(
        'unsupported',
        `${reference} is a directory tree and has no blob ${descriptor.digest}`,
      );
    },
    referrers: async () => [],
    close: async () => {},
  };
}
