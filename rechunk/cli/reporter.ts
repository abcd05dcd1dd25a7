/** What a run shows while it works, all on stderr: bars on a terminal, plain lines elsewhere, nothing with `--quiet`. */
import type { SingleBar } from 'cli-progress';
import type { Progress } from '../read.ts';
import { saying } from './say.ts';
import { formatSize } from './values.ts';

/** Shows progress and notices; `close` leaves the terminal clean. */
export interface Reporter {
  progress(progress: Progress): void;
  /** How many of `total` things are done, and what that comes to, by which the time is told that is left. */
  count(step: string, done: number, total: number, bytes?: Share): void;
  notice(text: string): void;
  close(): void;
}

/** Bytes of what is done, and of all. */
export interface Share {
  readonly done: number;
  readonly total: number;
}

const STEP_NAMES: Readonly<Record<Progress['step'], string>> = {
  read: 'reading',
  previous: 'previous',
  write: 'writing',
  send: 'sending',
  verify: 'verifying',
};

/** How often plain lines tell of progress, milliseconds. */
const LINE_INTERVAL_MS = 5000;
/** After how long the time that is left can be told, milliseconds. */
const ESTIMATE_AFTER_MS = 2000;

/** A reporter for `stream`; `now` is a clock in milliseconds. */
export async function createReporter(
  stream: NodeJS.WriteStream,
  options: { readonly quiet: boolean; readonly now: () => number },
): Promise<Reporter> {
  if (options.quiet) {
    return { progress: () => {}, count: () => {}, notice: () => {}, close: () => {} };
  }
  return stream.isTTY ? barReporter(stream, options.now) : lineReporter(stream, options.now);
}

/** What is left at the speed so far, in words; '' as long as that says little. */
function estimate(done: number, total: number, elapsedMs: number): string {
  if (done === 0 || elapsedMs < ESTIMATE_AFTER_MS) return '';
  const seconds = Math.ceil(((total - done) * elapsedMs) / done / 1000);
  return seconds < 120
    ? `, about ${seconds} s left`
    : `, about ${Math.ceil(seconds / 60)} min left`;
}

/** Tells what is left of steps that are counted; each begins when it is first told of. */
class Countdown {
  readonly #now: () => number;
  readonly #began: Map<string, { readonly ms: number; readonly done: number }> = new Map();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** What follows the number of all things: bytes, and the time that is left. */
  tell(step: string, done: number, total: number, bytes?: Share): string {
    const { done: some, total: all } = bytes ?? { done, total };
    const began = this.#began.get(step) ?? { ms: this.#now(), done: some };
    this.#began.set(step, began);
    const left = estimate(some - began.done, all - began.done, this.#now() - began.ms);
    return bytes ? `, ${formatSize(some)} of ${formatSize(all)}${left}` : left;
  }
}

function lineReporter(stream: NodeJS.WriteStream, now: () => number): Reporter {
  const done = new Map<Progress['step'], number>();
  const countdown = new Countdown(now);
  let last = now();
  return {
    count(step, done, total, bytes) {
      const rest = countdown.tell(step, done, total, bytes);
      if (now() - last < LINE_INTERVAL_MS) return;
      last = now();
      stream.write(`${step}: ${done} of ${total}${rest}\n`);
    },
    progress({ step, bytes, total }) {
      const sum = (done.get(step) ?? 0) + bytes;
      done.set(step, sum);
      if (now() - last < LINE_INTERVAL_MS) return;
      last = now();
      stream.write(
        `${STEP_NAMES[step]}: ${formatSize(sum)}${step === 'send' ? '' : ` of ${formatSize(total)}`}\n`,
      );
    },
    notice: (text) => stream.write(saying('note', text)),
    close: () => {},
  };
}

async function barReporter(stream: NodeJS.WriteStream, now: () => number): Promise<Reporter> {
  const { MultiBar } = await import('cli-progress');
  const bars = new MultiBar({
    stream,
    format: '{step} [{bar}] {percentage}% {done} of {all}',
    hideCursor: true,
    clearOnComplete: true,
    barCompleteChar: '=',
    barIncompleteChar: ' ',
    gracefulExit: false,
  });
  const open = new Map<Progress['step'], { bar: SingleBar; done: number; total: number }>();
  const countdown = new Countdown(now);
  let counted: SingleBar | undefined;
  return {
    count(step, done, total, bytes) {
      const rest = countdown.tell(step, done, total, bytes);
      const shown = { step: step.padEnd(9), done, all: `${total}${rest}` };
      counted ??= bars.create(total, 0, shown);
      counted.setTotal(bytes?.total ?? total);
      counted.update(bytes?.done ?? done, shown);
    },
    progress({ step, bytes, total }) {
      let state = open.get(step);
      if (!state) {
        state = {
          bar: bars.create(total, 0, { step: STEP_NAMES[step].padEnd(9), done: '', all: '' }),
          done: 0,
          total: 0,
        };
        open.set(step, state);
      }
      state.done += bytes;
      // Sending is told of blob by blob, so its total grows.
      state.total = step === 'send' ? Math.max(state.total, state.done) : total;
      state.bar.setTotal(state.total);
      state.bar.update(Math.min(state.done, state.total), {
        done: formatSize(state.done),
        all: formatSize(state.total),
      });
    },
    notice: (text) => bars.log(saying('note', text)),
    close: () => bars.stop(),
  };
}
