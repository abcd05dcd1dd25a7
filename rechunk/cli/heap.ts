/**
 * How much room V8 takes beyond what is alive. By default the young generation grows to 128 MiB and the old one to several times
 * what is in it: that is quick, and half of what a run on a large image would take. So it is bounded where an image is large.
 */
import { setFlagsFromString } from 'node:v8';

/** Bytes of an image's layers, compressed, from which on the heap is bounded: some 15 to 35 % more processor time on small files. */
export const LARGE_IMAGE: number = 256 << 20;

/** A thread's young generation starts with as much, MiB a half, since a bounded one does not grow any more. */
const THREADS_FLAG = '--min-semi-space-size=4';

/** What V8 is told (its `flag-definitions.h`); process-wide. */
const FLAGS: readonly string[] = [
  // The young generation stays as large as it is.
  '--semi-space-growth-factor=1',
  // The old generation grows by this much between two collections, %.
  '--heap-growing-percent=30',
];

/** From four times as many MiB on, buffers of streams that nobody uses any more are collected; by default it is 128 MiB, in each thread. */
const BUFFERS_FLAG = '--scavenger-max-new-space-capacity-mb=2';
/** The first V8 (that of Node 25) that takes a constant. */
const V8_WITHOUT_BUFFERS_FLAG = 14;

/** Prepares for {@link boundHeap}; to be called before threads are started. */
export function prepareHeap(): void {
  setFlagsFromString(THREADS_FLAG);
}

let isBound = false;

/** Keeps the heaps of the process near what is alive in them, from now on. */
export function boundHeap(): void {
  if (isBound) return;
  isBound = true;
  for (const flag of FLAGS) setFlagsFromString(flag);
  if (Number.parseInt(process.versions.v8, 10) < V8_WITHOUT_BUFFERS_FLAG)
    setFlagsFromString(BUFFERS_FLAG);
}
