/** From reference to Source or Destination: the one place that knows which transport serves which syntax. */
import type { ArchiveOptions } from './archive.ts';
import type { EngineOptions } from './engines/engine.ts';
import { during, RechunkError } from './errors.ts';
import type { Destination, Source } from './image.ts';
import { createLayout, listNames, openLayout } from './layout.ts';
import type { Environment } from './program.ts';
import { formatReference, parseReference } from './reference.ts';
import type { RemoteOptions } from './remote.ts';
import type { RemoteEvent } from './retry.ts';
import type { RootfsOptions } from './rootfs.ts';

/** What opening a reference may need; nothing is read from this process but what stands here. */
export interface TransportOptions {
  /**
   * Environment variables, as `process.env` has them: credentials and proxies of registries, PATH of the programs that are run, settings
   * of container engines. Default: no credentials, no proxies, and a plain PATH.
   */
  readonly env?: Environment | undefined;
  /** Stops what is under way; then blobs can no longer be read, nor anything be written. */
  readonly signal?: AbortSignal | undefined;
  /** Where archives that are compressed or piped are spooled to; default {@link LARGE_TEMP_DIR}. */
  readonly tempDir?: string | undefined;
  /** Told of retries, and of what was done another way: sentences. */
  readonly onNotice?: ((notice: string) => void) | undefined;
  /** What `-` reads; default none, so that `-` is refused. */
  readonly stdin?: AsyncIterable<Uint8Array> | undefined;
  /** For registries: credentials, TLS, retries. */
  readonly remote?: Omit<RemoteOptions, 'env' | 'signal'> | undefined;
  /** For `rootfs:`: the config, and how xattrs are read. */
  readonly rootfs?: Omit<RootfsOptions, 'reference' | 'env' | 'signal'> | undefined;
}

/**
 * Opens the image that `text` names; the caller closes it. Throws `reference` or `unsupported` for the text itself, and
 * what the transport throws.
 */
export async function openSource(text: string, options: TransportOptions = {}): Promise<Source> {
  const reference = parseReference(text);
  switch (reference.transport) {
    case 'docker': {
      const { openRemote } = await import('./remote.ts');
      return openRemote(reference, remoteOf(options));
    }
    case 'oci':
      return openLayout(reference.path, reference.ref);
    case 'oci-archive':
    case 'docker-archive': {
      const { openArchive } = await import('./archive.ts');
      const how = { ...tempDirOf(options), kind: reference.transport };
      return openArchive(reference.path, reference.ref, how);
    }
    case 'rootfs': {
      const { openRootfs } = await import('./rootfs.ts');
      return openRootfs(reference.path, { ...options.rootfs, ...contextOf(options) });
    }
    case 'dir': {
      const { openDir } = await import('./dir.ts');
      return openDir(reference.path);
    }
    case 'containers-storage': {
      const { openStorage } = await import('./engines/storage.ts');
      return openStorage(reference, engineOf(options));
    }
    case 'docker-daemon': {
      const { openDaemon } = await import('./engines/daemon.ts');
      return openDaemon(reference.name, engineOf(options));
    }
    case '-':
      return openStdin(options);
  }
}

/** Opens the place that `text` names for writing; the caller commits and closes it. */
export async function openDestination(
  text: string,
  options: TransportOptions = {},
): Promise<Destination> {
  const reference = parseReference(text);
  switch (reference.transport) {
    case 'docker': {
      const { createRemote } = await import('./remote.ts');
      return createRemote(reference, remoteOf(options));
    }
    case 'oci':
      return createLayout(reference.path, reference.ref);
    case 'oci-archive': {
      const { createOciArchive } = await import('./archivewriter.ts');
      return createOciArchive(reference.path, reference.ref);
    }
    case 'docker-archive': {
      const { createDockerArchive } = await import('./archivewriter.ts');
      return createDockerArchive(reference.path, reference.ref);
    }
    case 'containers-storage': {
      const { createStorage } = await import('./engines/storage.ts');
      return createStorage(reference, engineOf(options));
    }
    case 'docker-daemon': {
      const { createDaemon } = await import('./engines/daemon.ts');
      return createDaemon(reference.name, engineOf(options));
    }
    default:
      throw new RechunkError(
        'reference',
        `writing to ${text}: it can only be read; want docker://host/repo:tag, oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF], containers-storage:NAME or docker-daemon:NAME`,
      );
  }
}

/**
 * References of every tag in the repository, or name in the layout, that `text` is in; none where there is nothing yet or the
 * transport has no names.
 */
export async function listReferences(
  text: string,
  options: TransportOptions = {},
): Promise<string[]> {
  const reference = parseReference(text);
  if (reference.transport === 'oci') {
    const names = await listNames(reference.path);
    return names.map((ref) => formatReference({ transport: 'oci', path: reference.path, ref }));
  }
  if (reference.transport !== 'docker') return [];
  const { host, repository } = reference;
  const { listTags } = await import('./lists.ts');
  try {
    const tags = await listTags({ host, repository }, remoteOf(options));
    return tags.map((tag) => formatReference({ transport: 'docker', host, repository, tag }));
  } catch (error) {
    if (error instanceof RechunkError && error.code === 'not-found') return [];
    throw error;
  }
}

function tempDirOf({ tempDir }: TransportOptions): Pick<ArchiveOptions, 'tempDir'> {
  return tempDir === undefined ? {} : { tempDir };
}

/** What every transport that reaches out of this process takes. */
function contextOf({ env, signal }: TransportOptions): { env?: Environment; signal?: AbortSignal } {
  return { ...(env && { env }), ...(signal && { signal }) };
}

/** The options of registries. */
export function remoteOf(options: TransportOptions): RemoteOptions {
  const { remote, onNotice } = options;
  const onEvent = ({ message }: RemoteEvent): void => onNotice?.(message);
  return { onEvent, ...remote, ...contextOf(options) };
}

function engineOf(options: TransportOptions): EngineOptions {
  return { ...contextOf(options), ...tempDirOf(options) };
}

async function openStdin(options: TransportOptions): Promise<Source> {
  if (!options.stdin) {
    throw new RechunkError(
      'usage',
      'reading -: there is nothing on standard input, want an archive',
    );
  }
  const { openArchive, spoolStdin } = await import('./archive.ts');
  const { stdin, tempDir } = options;
  const spooled = await during('reading -', () => spoolStdin(stdin, tempDir));
  try {
    const source = await openArchive(spooled.path, undefined, {
      reference: '-',
      ...tempDirOf(options),
    });
    return { ...source, close: () => source.close().finally(spooled.remove) };
  } catch (error) {
    await spooled.remove();
    throw error;
  }
}
