/** Opens what a command works on and closes it whatever happens; an error while closing never hides the first one. */
import type { Destination, Source } from '../../registry/image.ts';
import { formatPlatform, isAttestation, type Platform, parseManifest } from '../../registry/oci.ts';
import { openDestination, openSource, type TransportOptions } from '../../registry/transport.ts';
import type { RunOptions } from '../context.ts';
import { watchMemory } from './limit.ts';
import { type Host, memoryLimit, runOptions, transportOptions, type Values } from './options.ts';
import { createReporter, type Reporter } from './reporter.ts';
import { expectLargeImage } from './v8.ts';

/** What a command has open while it runs. */
export interface Session {
  readonly reporter: Reporter;
  readonly run: RunOptions;
  /** How references are opened. */
  readonly transport: TransportOptions;
  source(reference: string): Promise<Source>;
  destination(reference: string): Promise<Destination>;
}

/** Runs `work`; what it opened is closed afterwards, the last first. */
export async function withSession<T>(
  values: Values,
  host: Host,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const quiet = values['quiet'] === true;
  const reporter = await createReporter(process.stderr, { quiet, now: () => performance.now() });
  const open: { close(): Promise<void> }[] = [];
  const keep = <Opened extends Source | Destination>(opened: Opened): Opened => {
    open.unshift(opened);
    for (const warning of opened.warnings ?? []) reporter.notice(warning);
    return opened;
  };
  const limit = memoryLimit(values);
  const watch = limit === undefined ? undefined : watchMemory(limit);
  if (watch) expectLargeImage();
  const signal = watch ? AbortSignal.any([host.signal, watch.signal]) : host.signal;
  const transport = transportOptions(values, { ...host, signal }, reporter);
  const session: Session = {
    reporter,
    run: runOptions(values, { ...host, signal }, reporter),
    transport,
    source: async (reference) => keep(await openSource(reference, transport)),
    destination: async (reference) => keep(await openDestination(reference, transport)),
  };
  try {
    const result = await work(session);
    for (let next = open.shift(); next; next = open.shift()) await next.close();
    const over = watch?.stop();
    if (over !== undefined) reporter.notice(over);
    return result;
  } catch (error) {
    throw watch?.error ?? error;
  } finally {
    watch?.stop();
    // Only after an error is anything left; what closing it says matters less than what went wrong.
    await Promise.allSettled(open.map((opened) => opened.close()));
    reporter.close();
  }
}

/** Says so where a comparison takes one image of several; `choice` is which. */
export function noticeIndexes(
  sources: readonly Source[],
  choice: { readonly platform?: Platform; readonly hostPlatform: Platform },
  { reporter }: Session,
): void {
  const platform = formatPlatform(choice.platform ?? choice.hostPlatform);
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
