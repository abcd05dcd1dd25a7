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
  /** Aborts when the process is larger, as it does when a person stops it (`interrupted`): nothing that is read then is damaged. */
  readonly signal: AbortSignal;
  /** What is to be told of that. */
  readonly error: RechunkError | undefined;
  /** Ends watching; what to tell where the process was larger for a moment. */
  stop(): string | undefined;
}

/** Watches the resident memory of the process; `limit` in bytes. Garbage is collected before anything is aborted. */
export function watchMemory(limit: number): MemoryWatch {
  const controller = new AbortController();
  const memory = watchPeak();
  let error: RechunkError | undefined;
  const check = (): void => {
    if (memory.measure() <= limit) return;
    collectGarbage();
    const found = memory.measure();
    if (found <= limit) return;
    clearInterval(timer);
    error = overLimit(limit, found);
    controller.abort(new RechunkError('interrupted', 'the run was stopped', { cause: error }));
  };
  const timer = setInterval(check, INTERVAL_MS).unref();
  return {
    signal: controller.signal,
    get error() {
      return error;
    },
    stop: () => {
      clearInterval(timer);
      const peak = memory.peak();
      if (peak <= limit) return undefined;
      return `--memory-limit ${formatLimit(limit)}: the process took ${formatLimit(peak)} at its largest`;
    },
  };
}

/** The resident memory of the process, bytes: now, and at its largest from now on. */
function watchPeak(): { measure(): number; peak(): number } {
  // Linux has a process begin with the peak of the one that started it.
  const before = process.resourceUsage().maxRSS;
  let largest = 0;
  const measure = (): number => {
    const found = process.memoryUsage.rss();
    largest = Math.max(largest, found);
    return found;
  };
  const peak = (): number => {
    const { maxRSS } = process.resourceUsage();
    return maxRSS > before ? maxRSS * KIB : largest;
  };
  return { measure, peak };
}

function overLimit(limit: number, found: number): RechunkError {
  const least = found * MARGIN;
  return new RechunkError(
    'limit',
    `--memory-limit ${formatLimit(limit)}: the process takes ${formatLimit(found)} by now, want at least ${formatLimit(least)} or fewer --threads`,
    { details: { limit, found } },
  );
}
