/** Pieces of the bench on all cores. */
import { Worker } from 'node:worker_threads';
import type { Outcome, Task } from './tasks.ts';

/**
 * Runs pieces on `threads` threads until none is left, or until `wanted` says no to the next one, which is the end; outcomes are
 * in the order of the tasks. `done` hears of each as it ends.
 */
export async function runTasks(
  tasks: readonly Task[],
  threads: number,
  wanted: (task: Task) => boolean,
  done: (task: Task) => void,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const queue = tasks.entries();
  const work = async (): Promise<void> => {
    const worker = new Worker(new URL('worker.ts', import.meta.url));
    try {
      for (const [i, task] of queue) {
        if (!wanted(task)) break;
        outcomes[i] = await ask(worker, task);
        done(task);
      }
    } finally {
      await worker.terminate();
    }
  };
  await Promise.all(Array.from({ length: Math.min(threads, tasks.length) }, work));
  return outcomes;
}

function ask(worker: Worker, task: Task): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const listen = (outcome: Outcome): void => {
      worker.off('error', reject);
      resolve(outcome);
    };
    worker.once('message', listen);
    worker.once('error', reject);
    worker.postMessage(task);
  });
}
