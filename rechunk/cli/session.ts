/** What a command has while it runs: images that are closed whatever happens, a reporter, settings of the run. */
import { HOST_PLATFORM, type PlatformChoice, type Source } from '../../registry/image.ts';
import { formatPlatform, isAttestation, parseManifest } from '../../registry/oci.ts';
import { type Opener, withImages } from '../../registry/opener.ts';
import type { TransportOptions } from '../../registry/transport.ts';
import type { RunOptions } from '../context.ts';
import { watchMemory } from './limit.ts';
import { type Host, memoryLimit, runOptions, transportOptions, type Values } from './options.ts';
import { createReporter, type Reporter } from './reporter.ts';
import { expectLargeImage } from './v8.ts';

/** What a command has while it runs. */
export interface Session extends Opener {
  readonly reporter: Reporter;
  readonly run: RunOptions;
  /** How references are opened. */
  readonly transport: TransportOptions;
}

/** Runs `work`; what it opened is closed afterwards, the last first. */
export async function withSession<T>(
  values: Values,
  host: Host,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const quiet = values['quiet'] === true;
  const reporter = await createReporter(process.stderr, { quiet, now: () => performance.now() });
  const limit = memoryLimit(values);
  const watch = limit === undefined ? undefined : watchMemory(limit);
  if (watch) expectLargeImage();
  const signal = watch ? AbortSignal.any([host.signal, watch.signal]) : host.signal;
  const own = { ...host, signal };
  try {
    const run = runOptions(values, own, reporter);
    const transport = transportOptions(values, own, reporter);
    const result = await withImages(transport, (open) =>
      work({ ...open, reporter, run, transport }),
    );
    const over = watch?.stop();
    if (over !== undefined) reporter.notice(over);
    return result;
  } catch (error) {
    throw watch?.error ?? error;
  } finally {
    watch?.stop();
    reporter.close();
  }
}

/** Says so where a comparison takes one image of several; `choice` is which. */
export function noticeIndexes(
  sources: readonly Source[],
  choice: PlatformChoice,
  { reporter }: Session,
): void {
  const platform = formatPlatform(choice.platform ?? HOST_PLATFORM);
  for (const source of sources) {
    const images = countImages(source);
    if (images > 1) {
      reporter.notice(
        `${source.reference} is an index of ${images} images: only the one for ${platform} is compared (--platform names another)`,
      );
    }
  }
}

/** How many images `source` names, attestations aside. */
function countImages({ root, reference }: Source): number {
  const { bytes, descriptor } = root;
  const parsed = parseManifest(bytes, descriptor.mediaType, `the manifest of ${reference}`);
  if (parsed.kind === 'manifest') return 1;
  return parsed.index.manifests.filter((entry) => !isAttestation(entry)).length;
}

/** Prints a result: JSON, or the text that `format` makes of it. */
export function print<T>(result: T, values: Values, format: (result: T) => string): void {
  process.stdout.write(values['json'] === true ? `${JSON.stringify(result)}\n` : format(result));
}
