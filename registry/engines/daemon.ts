/**
 * `docker-daemon:NAME`: the images of a Docker daemon, through the `docker` command, which knows where the daemon is (contexts,
 * `DOCKER_HOST`, TLS), else through skopeo.
 *
 * A daemon keeps images in one of two ways. Graph drivers keep layers unpacked and make up a manifest of their own, so they are handed
 * a Docker archive with uncompressed layers. The containerd store keeps blobs as they are, so it is handed an OCI archive: digest,
 * annotations and compression stay, and `docker push` sends just that.
 */
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { openArchive } from '../archive.ts';
import { DOCKER_FORMAT, type Format, OCI_FORMAT } from '../archiveformat.ts';
import { archiveDestination } from '../archivewriter.ts';
import { during, RechunkError } from '../errors.ts';
import type { Destination, Source } from '../image.ts';
import { LARGE_TEMP_DIR, makeTemporary } from '../ingest.ts';
import { formatRepository, parseRepository, storedNames } from '../reference.ts';
import { type Engine, type EngineOptions, findEngine } from './engine.ts';

const TOOLS = ['docker', 'skopeo'] as const;
type Tool = (typeof TOOLS)[number];

const INSTEAD =
  'install one of them, or take the image out where it is: `docker save -o FILE NAME`, then docker-archive:FILE';

/** Opens the image that the daemon has under `name` (`NAME[:TAG]`, or `sha256:ID`). Throws `not-found`, and `engine` where there is no daemon. */
export async function openDaemon(name: string, options: EngineOptions = {}): Promise<Source> {
  const reference = `docker-daemon:${name}`;
  return during(`reading ${reference}`, async () => {
    const engine = await findEngine<Tool>(TOOLS, INSTEAD, options);
    const ingest = await makeTemporary(options.tempDir ?? LARGE_TEMP_DIR, 'rechunk-');
    try {
      const file = ingest.newPath();
      await save(engine, name, file, options.env?.['DOCKER_HOST']);
      const source = await openArchive(file, undefined, { reference });
      return { ...source, close: () => source.close().finally(ingest.remove) };
    } catch (error) {
      await ingest.remove();
      throw error;
    }
  });
}

async function save(
  engine: Engine<Tool>,
  name: string,
  file: string,
  host: string | undefined,
): Promise<void> {
  if (engine.program === 'skopeo') {
    // It reads no environment.
    const daemon = host ? ['--src-daemon-host', host] : [];
    const parameters = [`docker-daemon:${fullName(name)}`, `docker-archive:${file}`];
    return engine.run(['--insecure-policy', 'copy', '-q', ...daemon, ...parameters]);
  }
  const handle = await open(file, 'wx', 0o600);
  try {
    await engine.run(['image', 'save', name], { take: (chunk) => handle.writeFile(chunk) });
  } finally {
    await handle.close();
  }
}

/** skopeo wants a tag; an id stays. */
function fullName(name: string): string {
  const parsed = parseRepository(name);
  if (/^sha256:[0-9a-f]{64}$/.test(name) || parsed.digest) return name;
  return formatRepository({ ...parsed, tag: parsed.tag ?? 'latest' });
}

/** What `docker info` says, as far as it matters. */
interface Info {
  readonly ServerVersion?: string;
  readonly ServerErrors?: readonly string[];
  readonly DriverStatus?: readonly (readonly [string, string])[] | null;
}

/** How the daemon takes images. */
const GRAPH_DRIVER: Format = { ...DOCKER_FORMAT, warnings: [] };
const CONTAINERD_STORE: Format = { ...OCI_FORMAT, names: storedNames };

/**
 * Opens the daemon for writing under `name`; tags of `commit` are tags of the same repository, or full names. The archive goes to it
 * as a stream. Throws `engine` where there is no daemon.
 */
export async function createDaemon(
  name: string,
  options: EngineOptions = {},
): Promise<Destination> {
  const reference = `docker-daemon:${name}`;
  return during(`writing to ${reference}`, async () => {
    storedNames(name, []);
    const engine = await findEngine<Tool>(TOOLS, INSTEAD, options);
    const format = await formatOf(engine);
    const ingest = await makeTemporary(options.tempDir ?? LARGE_TEMP_DIR, 'rechunk-');
    const deliver = (archive: Readable): Promise<void> => load(engine, archive);
    return archiveDestination(format, { reference, ref: name, ingest, deliver });
  });
}

async function formatOf(engine: Engine<Tool>): Promise<Format> {
  if (engine.program === 'skopeo') {
    throw new RechunkError(
      'engine',
      'docker is not installed; write docker-archive:FILE, and `docker load -i FILE` where it is',
    );
  }
  const info = JSON.parse(String(await engine.print(['info', '--format', '{{json .}}']))) as Info;
  const [error] = info.ServerErrors ?? [];
  if (error !== undefined) throw new RechunkError('engine', `docker: ${error}`);
  const isContainerd = info.DriverStatus?.some(([, value]) => value.startsWith('io.containerd.'));
  return isContainerd ? CONTAINERD_STORE : GRAPH_DRIVER;
}

/** Streams the archive into the daemon. */
function load(engine: Engine<Tool>, archive: Readable): Promise<void> {
  return engine.run(['image', 'load', '-q'], { input: archive });
}
