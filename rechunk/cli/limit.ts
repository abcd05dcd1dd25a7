/** Watches that the process stays below `--memory-limit`, whatever was planned. */
import { RechunkError } from '../../registry/errors.ts';
import { formatLimit } from '../budget.ts';
import { collectGarbage } from './v8.ts';

/** How often the process is measured, milliseconds; each takes 20 µs. */
const INTERVAL_MS = 50;
/** What is advised beyond what was seen, since more would have come. */
const MARGIN = 1.15;
const KIB = 1024;

/** A limit of memory while it is watched. */
export interface MemoryWatch {
  /** Aborts when the process is larger, with the error that says so. */
  readonly signal: AbortSignal;
  /** Ends watching; what to tell where the process was larger for a moment. */
  stop(): string | undefined;
}

/** Watches the resident memory of the process; `limit` in bytes. Garbage is collected before anything is aborted. */
export function watchMemory(limit: number): MemoryWatch {
  const controller = new AbortController();
  const check = (): void => {
    if (process.memoryUsage.rss() <= limit) return;
    collectGarbage();
    const found = process.memoryUsage.rss();
    if (found > limit && !controller.signal.aborted) controller.abort(overLimit(limit, found));
  };
  const timer = setInterval(check, INTERVAL_MS).unref();
  return {
    signal: controller.signal,
    stop: () => {
      clearInterval(timer);
      const peak = process.resourceUsage().maxRSS * KIB;
      if (peak <= limit) return undefined;
      return `--memory-limit ${formatLimit(limit)}: the process took ${formatLimit(peak)} at its largest`;
    },
  };
}

function overLimit(limit: number, found: number): RechunkError {
  const least = found * MARGIN;
  return new RechunkError(
    'limit',
    `--memory-limit ${formatLimit(limit)}: the process takes ${formatLimit(found)} by now, want at least ${formatLimit(least)} or fewer --threads`,
    { details: { limit, found } },
  );
}
