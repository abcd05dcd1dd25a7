/** Several images, variants of one product, rechunked in one run and planned together. */
import { type Destination, type Image, openImage, type Source } from '../registry/image.ts';
import { noticeImage } from './bound.ts';
import { type RunOptions, withContext } from './context.ts';
import {
  contentBounds,
  type Prepared,
  prepareImage,
  stackPlan,
  tellOversized,
  tellParents,
} from './grouping.ts';
import type { Sibling } from './known.ts';
import { type Memory, type MemorySources, openMemory } from './memory.ts';
import { type BuildOptions, type BuildResult, chooseCompression, unlessProven } from './rechunk.ts';
import { planTogether } from './variants.ts';
import { type Written, withUpdate, writeImage } from './write.ts';

/** One of the images; the caller opens and closes what it names. */
export interface VariantInput {
  readonly source: Source;
  readonly destination: Destination;
  /** What earlier images tell of this variant. */
  readonly memory?: MemorySources | undefined;
}

/** Rechunks all `variants`; none becomes visible before all are written. Results are in their order. */
export async function rechunkTogether(
  variants: readonly VariantInput[],
  options: Omit<BuildOptions, 'memory' | 'allPlatforms' | 'base'> & RunOptions = {},
): Promise<BuildResult[]> {
  const { platform, hostPlatform, dryRun = false, tags = [] } = options;
  const compressions = variants.map(({ destination }) =>
    chooseCompression(destination, options.compression, options.profile),
  );
  const bounds = contentBounds(options);
  return withContext(unlessProven(options), async (context) => {
    tellParents(options, context);
    const choice = { platform, hostPlatform };
    const read: {
      image: Image;
      memory: Memory;
      prepared: Prepared;
    }[] = [];
    for (const { source, memory: sources = {} } of variants) {
      const image = await openImage(source, choice);
      await noticeImage(source, image, context);
      const memory = await openMemory(sources, image.platform, context);
      read.push({
        image,
        memory,
        prepared: await prepareImage(image, { ...options, memory }, context),
      });
    }
    const plans = planTogether(
      read.map(({ prepared }) => prepared),
      bounds,
    );
    for (const plan of plans) tellOversized(plan, options, context);
    const written: Written[] = [];
    const siblings: Sibling[] = [];
    for (const [i, { image, memory, prepared }] of read.entries()) {
      const { destination } = variants[i] as VariantInput;
      const compression = compressions[i] ?? 'zstd';
      const grouping = stackPlan(prepared, plans[i] as (typeof plans)[number], options);
      const how = { ...options, compression, memory, siblings };
      const one = await writeImage(image, grouping, destination, how, context);
      written.push(withUpdate(one, memory));
      siblings.push({ layers: one.built.layers, compression: one.built.compression, destination });
    }
    const results: BuildResult[] = [];
    for (const [i, { document, built }] of written.entries()) {
      const { destination } = variants[i] as VariantInput;
      if (!dryRun) await destination.commit(document, tags);
      const { digest } = document.descriptor;
      results.push({ digest, destination: destination.reference, tags, dryRun, images: [built] });
    }
    return results;
  });
}
