/**
 * What V8 is told, process-wide: its defaults are made for servers that run for long. A run on a small image takes two seconds,
 * of which compiling what is called often would take a tenth; one on a large image would take twice the memory that it needs. So an
 * image counts as small until it is known to be large. Only the command line does this; whoever uses the library keeps their V8.
 *
 * The flags are of V8's `flag-definitions.h`; all exist in Node 22, 24 and 26 where it is not said.
 */
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Bytes of an image's layers, compressed, from which on it is large. */
export const LARGE_IMAGE: number = 64 << 20;

/** For a small image: code is optimised later than by default (400 and 3,000 calls). */
const SMALL: readonly string[] = [
  '--invocation-count-for-maglev=1500',
  '--invocation-count-for-turbofan=20000',
  // For later: a thread's young generation starts with as much, MiB a half, since a bounded one does not grow any more.
  '--min-semi-space-size=4',
];

/** For a large image: code is optimised as by default, and the heap is bounded, which costs 15 % more processor time on small files. */
const LARGE: readonly string[] = [
  '--invocation-count-for-maglev=400',
  '--invocation-count-for-turbofan=3000',
  // The young generation, up to 128 MiB by default, stays as large as it is.
  '--semi-space-growth-factor=1',
  // The old generation grows by this much between two collections, %; by default to several times what is in it.
  '--heap-growing-percent=30',
];

/** From four times as many MiB on, buffers of streams that nobody uses any more are collected; by default it is 128 MiB, in each thread. */
const BUFFERS_FLAG = '--scavenger-max-new-space-capacity-mb=2';
/** The first V8 (that of Node 25) that takes a constant. */
const V8_WITHOUT_BUFFERS_FLAG = 14;

/** To be called before threads are started. */
export function expectSmallImage(): void {
  for (const flag of SMALL) setFlagsFromString(flag);
}

let isLarge = false;

/** Keeps the heaps of the process near what is alive in them, from now on. */
export function expectLargeImage(): void {
  if (isLarge) return;
  isLarge = true;
  for (const flag of LARGE) setFlagsFromString(flag);
  if (Number.parseInt(process.versions.v8, 10) < V8_WITHOUT_BUFFERS_FLAG)
    setFlagsFromString(BUFFERS_FLAG);
}

/** Bytes of garbage and what is alive together, on the main thread, from which on collecting is worth its time: 0.2 s for 100 MiB. */
const WORTH_COLLECTING = 64 << 20;

/**
 * Collects what is garbage and gives its pages back, at a moment when there is much of it: else it would stay until the end, since
 * the main thread makes little more. Small heaps are left alone.
 */
export function collectGarbage(): void {
  if (getHeapStatistics().used_heap_size < WORTH_COLLECTING) return;
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options: Readonly<Record<string, string>>) => void;
  // Pages that are partly used are emptied too, which an ordinary collection does with few.
  collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
