/**
 * Where the content of layers that are written comes from. Layers that were recalled are not there: of them, and of the layers of earlier
 * images that hold the same files, those are fetched that have what is needed for the least bytes. A layer is mostly written
 * anew because one of its components changed, and the others lie together in its predecessor.
 */
import { RechunkError } from '../registry/errors.ts';
import type { Image, Layer } from '../registry/image.ts';
import { type IndexedEntry, unpackBatch } from './batch.ts';
import type { Context } from './context.ts';
import type { PastImage } from './memory.ts';
import { bodyOf, recallLayer } from './read.ts';
import type { StackedLayer } from './stack.ts';
import type { Body, Inode } from './tree.ts';

/** Where content lies, by sha256. */
export type Places = ReadonlyMap<string, Body>;

/** Something to be fetched, and what of the content that is needed it has. */
interface Offer {
  /** Bytes that are read. */
  readonly cost: number;
  /** By sha256. */
  readonly has: ReadonlySet<string>;
  /** Fetches it, and says where what it has lies then; undefined where that cannot be. */
  fetch(): Promise<Places | undefined>;
}

/** A layer that is written, and what it holds. */
export type NeededLayer = Pick<StackedLayer, 'components' | 'entries'>;

/** Content that is needed and not there: sizes by sha256. */
type Needed = ReadonlyMap<string, number>;

/** How much less a byte costs that lies on this machine. */
const KEPT_GAIN = 100;
/** Below that, looking for something cheaper costs more than it saves, bytes. */
const CHEAP_BYTES = 1 << 20;

/**
 * Fetches what `layers` need, as cheaply as the layers of `past` allow, and gives where it lies; what was there before lies where
 * inodes say.
 */
export async function fetchContent(
  layers: readonly NeededLayer[],
  past: readonly PastImage[],
  context: Context,
): Promise<Places> {
  const { needed, own } = findNeeded(layers, context);
  if (needed.size === 0) return new Map();
  const total = own.reduce((sum, { cost }) => sum + cost, 0);
  const others = total > CHEAP_BYTES ? await findOffers(layers, past, needed, context) : [];
  let offers = [...own, ...others];
  for (;;) {
    const chosen = choose(needed, offers);
    const fetching = chosen.map((offer) => offer.fetch());
    // After an error, too, nothing is fetched any more.
    await Promise.allSettled(fetching);
    const found = await Promise.all(fetching);
    const failed = new Set(chosen.filter((_, i) => found[i] === undefined));
    if (failed.size === 0) return new Map(found.flatMap((places) => [...(places ?? [])]));
    // What cannot be fetched is not asked again; the image's own layers always can, or the run ends.
    offers = offers.filter((offer) => !failed.has(offer));
  }
}

/** What `layers` need of layers that are not there, and those layers. */
function findNeeded(
  layers: readonly NeededLayer[],
  { spool }: Context,
): { readonly needed: Needed; readonly own: readonly Offer[] } {
  const needed = new Map<string, number>();
  const bodies = new Map<Body['file'], Map<string, Body>>();
  for (const { entries } of layers) {
    for (const { inode } of entries()) {
      const { body, sha256, size } = inode;
      if (!body || spool.holdings.get(body.file)?.isFilled !== false) continue;
      needed.set(sha256, size);
      const some = bodies.get(body.file) ?? new Map<string, Body>();
      bodies.set(body.file, some.set(sha256, body));
    }
  }
  const own = [...bodies].map(([file, places]): Offer => {
    const fetch = async (): Promise<Places> => {
      await spool.holdings.ready([file]);
      return places;
    };
    return { cost: spool.holdings.get(file)?.cost ?? 0, has: new Set(places.keys()), fetch };
  });
  return { needed, own };
}

/** Layers of earlier images that hold components which `layers` hold too, and whose content is known. */
async function findOffers(
  layers: readonly NeededLayer[],
  past: readonly PastImage[],
  needed: Needed,
  context: Context,
): Promise<Offer[]> {
  const components = new Set(layers.flatMap((layer) => layer.components));
  const seen = new Set<string>();
  const offers: Offer[] = [];
  for (const { image, record } of past) {
    for (const [number, layer] of image.layers.entries()) {
      const ids = record?.layers[number]?.components.keys() ?? [];
      if (seen.has(layer.diffId) || ![...ids].some((id) => components.has(id))) continue;
      seen.add(layer.diffId);
      const offer = await findOffer(image, layer, needed, context);
      if (offer) offers.push(offer);
    }
  }
  return offers;
}

async function findOffer(
  image: Image,
  layer: Layer,
  needed: Needed,
  context: Context,
): Promise<Offer | undefined> {
  const found = await context.cache?.findLayer(layer.diffId);
  const entries = new Map<string, IndexedEntry>();
  for (const batch of found?.batches ?? [])
    for (const entry of unpackBatch(batch))
      if (needed.has(entry.sha256)) entries.set(entry.sha256, entry);
  if (entries.size === 0) return undefined;
  const fetch = async (): Promise<Places | undefined> => {
    try {
      const name = `the layer ${layer.descriptor.digest} of ${image.source.reference}`;
      const recalled = await recallLayer(image, layer, name, context);
      if (!recalled) return undefined;
      await context.spool.holdings.ready([recalled.bodies]);
      return new Map(entries.entries().map(([sha256, entry]) => [sha256, bodyOf(recalled, entry)]));
    } catch (error) {
      if (!(error instanceof RechunkError) || error.code === 'interrupted') throw error;
      return undefined;
    }
  };
  const { digest, size } = layer.descriptor;
  const isKept = (await context.cache?.findKept(digest)) !== undefined;
  return { cost: isKept ? size / KEPT_GAIN : size, has: new Set(entries.keys()), fetch };
}

/** Offers that together have all that is needed, the most of it for each byte first. */
function choose(needed: Needed, offers: readonly Offer[]): Offer[] {
  const holders = new Map<string, Offer[]>();
  const gains = new Map<Offer, number>();
  for (const offer of offers) {
    let gain = 0;
    for (const sha256 of offer.has) {
      gain += needed.get(sha256) ?? 0;
      const others = holders.get(sha256);
      if (others) others.push(offer);
      else holders.set(sha256, [offer]);
    }
    gains.set(offer, gain);
  }
  const chosen: Offer[] = [];
  const missing = new Map(needed);
  while (missing.size > 0) {
    const worth = (offer: Offer): number => (gains.get(offer) ?? 0) / Math.max(1, offer.cost);
    const best = [...gains.keys()].reduce((a, b) => (worth(b) > worth(a) ? b : a));
    chosen.push(best);
    gains.delete(best);
    for (const sha256 of best.has) {
      const size = missing.get(sha256) ?? 0;
      if (!missing.delete(sha256)) continue;
      for (const other of holders.get(sha256) ?? [])
        if (gains.has(other)) gains.set(other, (gains.get(other) ?? 0) - size);
    }
  }
  return chosen;
}

/** Where an inode's content is read: where it was found instead, else where it lies. */
export function placeOf(inode: Inode, places: Places): Body | undefined {
  return places.get(inode.sha256) ?? inode.body;
}
