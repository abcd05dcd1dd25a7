/**
 * `containers-storage:NAME`: the images of podman, buildah and CRI-O, through skopeo, podman or buildah, whichever is installed.
 *
 * The storage keeps layers unpacked, so images come out uncompressed and go in uncompressed: compressing them on the way would be
 * undone at once. What the storage says of an image's layers without unpacking them is read first; the image itself only when a blob
 * is asked for. Layers that the storage has are not handed to it again.
 */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { staged } from '../archiveformat.ts';
import { openDir } from '../dir.ts';
import { during, RechunkError } from '../errors.ts';
import type { Destination, Document, Source } from '../image.ts';
import { type Ingest, LARGE_TEMP_DIR, makeTemporary } from '../ingest.ts';
import { LAYOUT_VERSION, NEW_INDEX, tagIndex } from '../layout.ts';
import {
  CONFIG_LIMIT,
  type Digest,
  digestOf,
  isIndexType,
  MANIFEST_LIMIT,
  type Manifest,
  type ManifestOrIndex,
  MEDIA,
  parseConfig,
  parseManifest,
} from '../oci.ts';
import {
  formatReference,
  formatStored,
  normalizeName,
  type StoredReference,
  storedNames,
} from '../reference.ts';
import { Stage } from '../stage.ts';
import { type Engine, type EngineOptions, findEngine } from './engine.ts';

/** In the order in which they are taken: only skopeo tells of an image without its layers. */
const TOOLS = ['skopeo', 'podman', 'buildah'] as const;
/** Tools that know lists of images. */
const LIST_TOOLS = ['podman', 'buildah'] as const;
type Tool = (typeof TOOLS)[number];

const INSTEAD =
  'install one of them, or take the image out where it is: `podman save --format oci-archive -o FILE NAME`, then oci-archive:FILE';
/** Image ids, whole. */
const ID = /^[0-9a-f]{64}$/;
const RAW_LAYERS: readonly string[] = [MEDIA.layer, MEDIA.dockerLayer];
/** Where images are looked for is easily mistaken. */
const WHERE =
  'root and every other user have a storage of their own, and podman and buildah put `localhost/` before names without a host';

/** An image in a storage, and the tool that is asked for it. */
interface Stored {
  readonly engine: Engine<Tool>;
  readonly reference: StoredReference;
  /** As skopeo and messages name it. */
  readonly text: string;
  readonly options: EngineOptions;
}

/** Opens the image, or list of images, that `reference` names. Throws `not-found`, and `engine` where no tool can be asked. */
export async function openStorage(
  reference: StoredReference,
  options: EngineOptions = {},
): Promise<Source> {
  const text = formatReference({ transport: 'containers-storage', ...reference });
  return during(`reading ${text}`, async () => {
    const engine = await findEngine<Tool>(TOOLS, INSTEAD, options);
    const stored = { engine, reference, text, options };
    try {
      if (engine.program !== 'skopeo') return await exportImage(stored, 'unknown');
      const manifest = await readManifest(stored);
      if (manifest.kind === 'index') return await exportImage(stored, 'index');
      const told = await inspect(stored, manifest);
      return told ? laterSource(stored, told) : await exportImage(stored, 'manifest');
    } catch (error) {
      if (!(error instanceof RechunkError) || error.code !== 'not-found') throw error;
      throw new RechunkError('not-found', `${error.message} (${WHERE})`, { cause: error });
    }
  });
}

/** What is known of an image before it is taken out. */
interface Told {
  readonly manifest: Document;
  readonly config: Document;
  readonly layers: ReadonlySet<Digest>;
}

/** What a name leads to, where skopeo tells. */
type Kind = ManifestOrIndex['kind'] | 'unknown';

/** A manifest or index, and its bytes. */
type RawManifest = ManifestOrIndex & { readonly bytes: Buffer };

async function readManifest({ engine, text }: Stored): Promise<RawManifest> {
  const bytes = await engine.print(['inspect', '--raw', text], MANIFEST_LIMIT);
  return { ...parseManifest(bytes, '', `the manifest of ${text}`), bytes };
}

/** Manifest and config, where they describe the layers as they would come out: uncompressed. */
async function inspect(
  { engine, text }: Stored,
  { bytes, manifest }: RawManifest & { readonly kind: 'manifest' },
): Promise<Told | undefined> {
  if (!manifest.layers.every(isRaw)) return undefined;
  const config = await printConfig(engine, text);
  const { mediaType = MEDIA.manifest, layers } = manifest;
  const diffIds = parseConfig(config).rootfs.diff_ids ?? [];
  if (manifest.config.digest !== digestOf(config)) return undefined;
  if (layers.some(({ digest }, i) => digest !== diffIds[i])) return undefined;
  return {
    manifest: { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, bytes },
    config: { descriptor: manifest.config, bytes: config },
    layers: new Set(layers.map(({ digest }) => digest)),
  };
}

function isRaw({ mediaType }: Manifest['layers'][number]): boolean {
  return RAW_LAYERS.includes(mediaType);
}

function printConfig(engine: Engine, text: string): Promise<Buffer> {
  return engine.print(['inspect', '--raw', '--config', text], CONFIG_LIMIT);
}

/** The image as it was told of; taken out when the first blob is asked for. */
function laterSource(stored: Stored, { manifest, config, layers }: Told): Source {
  let opened: Promise<Source> | undefined;
  const open = (): Promise<Source> => {
    opened ??= exportImage(stored, 'manifest').then((source) => checkSame(source, config, stored));
    return opened;
  };
  return {
    reference: stored.text,
    root: manifest,
    document: async (descriptor) => {
      const known = [manifest, config].find((one) => one.descriptor.digest === descriptor.digest);
      return known ?? (await open()).document(descriptor);
    },
    blob: async (descriptor) => (await open()).blob(descriptor),
    has: async ({ digest }) => layers.has(digest),
    referrers: async () => [],
    close: async () => {
      const source = await opened?.catch(() => undefined);
      await source?.close();
    },
  };
}

/** Between the two looks somebody may have built anew. */
async function checkSame(source: Source, config: Document, { text }: Stored): Promise<Source> {
  const { bytes, descriptor } = source.root;
  const parsed = parseManifest(bytes, descriptor.mediaType);
  if (parsed.kind === 'manifest' && parsed.manifest.config.digest === config.descriptor.digest) {
    return source;
  }
  await source.close();
  throw new RechunkError('engine', `reading ${text}: the image was replaced meanwhile`);
}

/** Takes the image out, into a private directory that the source's `close` removes. */
async function exportImage(stored: Stored, kind: Kind): Promise<Source> {
  const { text, options } = stored;
  const ingest = await makeTemporary(options.tempDir ?? LARGE_TEMP_DIR, 'rechunk-');
  try {
    const dir = ingest.newPath();
    await mkdir(dir);
    await exportTo(stored, kind, dir);
    return await openDir(dir, { reference: text, close: ingest.remove });
  } catch (error) {
    await ingest.remove();
    throw error;
  }
}

async function exportTo(
  { engine, reference, text, options }: Stored,
  kind: Kind,
  dir: string,
): Promise<void> {
  if (kind === 'manifest') {
    // It is this machine's own image: no policy of whom to trust is about it.
    return engine.run(['--insecure-policy', 'copy', '-q', text, `dir:${dir}`]);
  }
  const other = kind === 'index' ? await findEngine(LIST_TOOLS, INSTEAD, options) : engine;
  const flags = storeFlags(reference.store);
  const name = nameOf(reference);
  const question = [...flags, 'manifest', 'exists', name];
  const isList = kind === 'index' || (await isListThere(other, question));
  if (isList) return other.run([...flags, 'manifest', 'push', '-q', '--all', name, `dir:${dir}`]);
  const plain = other.program === 'buildah' ? ['--disable-compression'] : [];
  return other.run([...flags, 'push', '-q', ...plain, name, `dir:${dir}`]);
}

/** Whether the name is that of a list; the tool says so by its exit status. */
function isListThere(engine: Engine, question: readonly string[]): Promise<boolean> {
  return engine.run(question).then(
    () => true,
    (error: unknown) => {
      if (error instanceof RechunkError) return false;
      throw error;
    },
  );
}

/** The name for podman and buildah, which complete short names otherwise than containers-transports(5); an id as it is. */
function nameOf({ name }: StoredReference): string {
  const [, id] = /@([0-9a-f]{64})$/.exec(name) ?? [];
  if (id !== undefined) return id;
  return ID.test(name) || name.includes('@') ? name : (normalizeName(name) ?? name);
}

/** `[driver@]graphroot[+runroot][:options]` as the flags of podman and buildah. */
function storeFlags(store: string | undefined): readonly string[] {
  if (store === undefined) return [];
  const [, driver, root = '', run, options = ''] =
    /^(?:([^@]*)@)?([^+:]*)(?:\+([^:]*))?(?::(.*))?$/s.exec(store) ?? [];
  return [
    ...(driver ? ['--storage-driver', driver] : []),
    ...(root ? ['--root', root] : []),
    ...(run ? ['--runroot', run] : []),
    ...options
      .split(',')
      .filter(Boolean)
      .flatMap((option) => ['--storage-opt', option]),
  ];
}

/**
 * Opens the storage for writing under the name that `reference` states; tags of `commit` are tags of the same repository, or full names.
 * What is there under these names stays in the storage, without a name.
 */
export async function createStorage(
  reference: StoredReference,
  options: EngineOptions = {},
): Promise<Destination> {
  const text = formatReference({ transport: 'containers-storage', ...reference });
  return during(`writing to ${text}`, async () => {
    storedNames(reference.name, []);
    const engine = await findEngine<Tool>(TOOLS, INSTEAD, options);
    const stored = { engine, reference, text, options };
    const held = await heldLayers(stored);
    return storageDestination(
      stored,
      held,
      await makeTemporary(options.tempDir ?? LARGE_TEMP_DIR, 'rechunk-'),
    );
  });
}

/** The diffIDs of the image that has the name now: layers that need not be handed over. */
async function heldLayers({ engine, reference, text }: Stored): Promise<ReadonlySet<Digest>> {
  try {
    if (engine.program === 'skopeo') {
      return new Set(parseConfig(await printConfig(engine, text)).rootfs.diff_ids);
    }
    if (engine.program === 'buildah') return new Set();
    const question = ['image', 'inspect', '--format', '{{json .RootFS.Layers}}'];
    const flags = storeFlags(reference.store);
    const said = await engine.print([...flags, ...question, nameOf(reference)]);
    return new Set(JSON.parse(said.toString()) as Digest[] | null);
  } catch (error) {
    // Nothing there, a list, an artifact: then all layers are handed over.
    if (error instanceof RechunkError && error.code !== 'interrupted') return new Set();
    throw error;
  }
}

function storageDestination(
  stored: Stored,
  held: ReadonlySet<Digest>,
  ingest: Ingest,
): Destination {
  const { text, reference, options } = stored;
  const stage = new Stage(ingest, text);
  let old: Promise<Source> | undefined;
  return {
    reference: text,
    directory: ingest.directory,
    compressions: ['none'],
    holdsIndex: false,
    warnings: [
      `${text} keeps no compressed layers: what \`podman push\` sends is compressed anew; \`rechunk build\` from there to the registry is not`,
    ],
    has: async (descriptor) => held.has(descriptor.digest) || stage.get(descriptor) !== undefined,
    putBytes: (descriptor, bytes) => stage.putBytes(descriptor, bytes),
    putFile: (descriptor, path, onProgress) => stage.putFile(descriptor, path, onProgress),
    putBlob: (descriptor, blob, onProgress) => stage.putBlob(descriptor, blob, onProgress),
    read: async (descriptor) => {
      if (!held.has(descriptor.digest)) return staged(stage, descriptor);
      old ??= openStorage(reference, options);
      return (await old).blob(descriptor);
    },
    commit: (root, tags) =>
      during(`writing to ${text}`, async () => {
        if (isIndexType(root.descriptor.mediaType)) {
          throw new RechunkError('unsupported', 'it takes one image at a time, and no index');
        }
        const names = storedNames(reference.name, tags);
        await stage.putBytes(root.descriptor, root.bytes);
        await importImage(stored, ingest, await writeLayout(stage, ingest, root), names);
      }),
    close: async () => {
      const source = await old?.catch(() => undefined);
      await source?.close();
      await ingest.remove();
    },
  };
}

/** Makes a layout of what was received, which may lack layers that the storage has, and gives its name below the private directory. */
async function writeLayout(stage: Stage, ingest: Ingest, root: Document): Promise<string> {
  // podman and buildah take a layout's path for a name, so it must look like one, and be nobody else's.
  const name = ingest.name.toLowerCase();
  const dir = join(ingest.directory, name);
  for (const algorithm of ['sha256', 'sha512']) {
    await mkdir(join(dir, 'blobs', algorithm), { recursive: true });
  }
  for (const { digest, path } of stage.blobs) {
    await rename(path, join(dir, 'blobs', digest.replace(':', '/')));
  }
  await writeFile(join(dir, 'oci-layout'), LAYOUT_VERSION);
  await writeFile(join(dir, 'index.json'), JSON.stringify(tagIndex(NEW_INDEX, root, [])));
  return name;
}

/** Has the tool take the image of the layout in, under all `names`. */
async function importImage(
  { engine, reference: { store } }: Stored,
  { directory }: Ingest,
  layout: string,
  names: readonly string[],
): Promise<void> {
  if (engine.program === 'skopeo') {
    for (const name of names) {
      const target = formatStored({ ...(store !== undefined && { store }), name });
      const parameters = [`oci:${layout}`, `containers-storage:${target}`];
      await engine.run(['copy', '-q', ...parameters], { directory });
    }
    return;
  }
  const flags = storeFlags(store);
  const said = await engine.print([...flags, 'pull', '-q', `oci:${layout}`], undefined, {
    directory,
  });
  const id = said.toString().trim().split('\n').at(-1) ?? '';
  await engine.run([...flags, 'tag', id, ...names]);
  // The name that the tool made of the path, which newer ones do not; it has others by now, so nothing but the name goes.
  const made = `localhost/${layout}:latest`;
  const forget = engine.program === 'buildah' ? ['rmi', made] : ['untag', id, made];
  await engine.run([...flags, ...forget]).catch(() => {});
}
