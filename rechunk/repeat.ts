/**
 * A build that was done before, with the same request and the same images, is not done again where all that it made is still
 * there. A build on top of its own result gives that result again, so it counts as done too.
 */
import { createHash } from 'node:crypto';
import type { Destination, Document, Image } from '../registry/image.ts';
import type { Descriptor } from '../registry/oci.ts';
import type { Context } from './context.ts';
import { type Memory, type PastImage, readRecord } from './memory.ts';
import { isThere } from './read.ts';
import { isPrecise } from './record.ts';
import type { BuiltImage, Written } from './write.ts';

/** What decides a result. */
export interface Request {
  /** All options that do, as a text; without it nothing is remembered. */
  readonly options: string | undefined;
  readonly image: Image;
  readonly memory: Memory;
}

/** A result as it is remembered. */
interface Remembered {
  readonly manifest: RememberedDocument;
  readonly config: RememberedDocument;
  readonly built: BuiltImage;
  /** What was told on the way. */
  readonly notices: readonly string[];
}

interface RememberedDocument {
  readonly descriptor: Descriptor;
  readonly text: string;
}

/**
 * Does `work`, or finds that it was done before: source and destination have all layers, and the same is told. What is proved or has
 * more to it than a manifest, a config and layers is always done.
 */
export async function doOnce(
  request: Request,
  destination: Destination,
  work: (context: Context) => Promise<Written>,
  context: Context,
): Promise<Written> {
  const { cache } = context;
  // No digest says what is in a directory.
  if (!cache || request.image.source.tree || !isDecided(request)) return work(context);
  const digestsOf = (images: readonly PastImage[]): string[] =>
    images.map(({ image }) => image.manifestDocument.descriptor.digest);
  const previous = digestsOf(request.memory.previous);
  const before = await cache.findResult<Remembered>(keyOf(request, previous));
  if (before && (await isComplete(request.image, before, destination)))
    return repeat(before, destination, context);
  const notices: string[] = [];
  const onNotice = (notice: string): void => {
    notices.push(notice);
    context.onNotice?.(notice);
  };
  const written = await work({ ...context, onNotice });
  if (!written.isWhole) return written;
  const { document, config, built } = written;
  const result: Remembered = { manifest: textOf(document), config: textOf(config), built, notices };
  cache.noteResult(keyOf(request, previous), result);
  cache.noteResult(keyOf(request, [document.descriptor.digest]), result);
  return written;
}

/** Whether nothing but what is in the key decides: a plan that is attached to an image may come and go. */
function isDecided({ options, memory }: Request): boolean {
  if (options === undefined) return false;
  return [...memory.previous, ...memory.history].every(({ image }) => {
    const record = readRecord(image);
    return record !== undefined && isPrecise(record);
  });
}

function keyOf({ options, image, memory }: Request, previous: readonly string[]): string {
  const digestOf = (one: Image): string => one.manifestDocument.descriptor.digest;
  // The images built upon are named by `previous`, also where that is what was made of them.
  const before = new Set(memory.previous.map((past) => digestOf(past.image)));
  const others = memory.reusable.map(digestOf).filter((digest) => !before.has(digest));
  const history = memory.history.map((past) => digestOf(past.image));
  const own = [image.source.reference, digestOf(image)];
  const all = JSON.stringify([options, own, previous, history, others]);
  return createHash('sha256').update(all).digest('hex');
}

function textOf({ descriptor, bytes }: Document): RememberedDocument {
  return { descriptor, text: Buffer.from(bytes).toString() };
}

function documentOf({ descriptor, text }: RememberedDocument): Document {
  return { descriptor, bytes: Buffer.from(text) };
}

/** Whether the source still has what the result was made of, and the destination all layers of the result. */
async function isComplete(
  image: Image,
  { manifest, built }: Remembered,
  destination: Destination,
): Promise<boolean> {
  const { layers } = JSON.parse(manifest.text) as { layers: Descriptor[] };
  const there = await Promise.all([
    ...image.layers.map((layer) => isThere(image, layer)),
    ...layers.map((layer) => destination.has(layer)),
  ]);
  return there.every(Boolean) && built.layers.length === layers.length;
}

async function repeat(
  { manifest, config, built, notices }: Remembered,
  destination: Destination,
  context: Context,
): Promise<Written> {
  for (const notice of notices) context.onNotice?.(notice);
  const document = documentOf(manifest);
  const layers = built.layers.map((layer) => ({ ...layer, reused: true, known: true }));
  const kept = documentOf(config);
  await destination.putBytes(kept.descriptor, kept.bytes);
  return { document, config: kept, isWhole: true, built: { ...built, layers, sentBytes: 0 } };
}
