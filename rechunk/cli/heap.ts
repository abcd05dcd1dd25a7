/**
 * How much room V8 takes beyond what is alive. By default the young generation grows to 128 MiB and the old one to several times
 * what is in it: good for a server, and half of what a run of this program would take.
 */
import { setFlagsFromString } from 'node:v8';

/** What V8 is told (its `flag-definitions.h`); process-wide, threads that start later too. */
const FLAGS: readonly string[] = [
  // The young generation stays as large as loading the program made it: at most 8 MiB.
  '--semi-space-growth-factor=1',
  // That of a thread starts with as much, MiB a half.
  '--min-semi-space-size=4',
  // The old generation grows by this much between two collections, %.
  '--heap-growing-percent=30',
];

/** From four times as many MiB on, buffers of streams that nobody uses any more are collected; by default it is 128 MiB, in each thread. */
const BUFFERS_FLAG = '--scavenger-max-new-space-capacity-mb=2';
/** The first V8 (that of Node 25) that takes a constant. */
const V8_WITHOUT_BUFFERS_FLAG = 14;

/** Keeps the heaps of the process near what is alive in them; to be called once the program is loaded. */
export function boundHeap(): void {
  for (const flag of FLAGS) setFlagsFromString(flag);
  if (Number.parseInt(process.versions.v8, 10) < V8_WITHOUT_BUFFERS_FLAG)
    setFlagsFromString(BUFFERS_FLAG);
}
