/** Pieces of the bench on all cores. */
import { Worker } from 'node:worker_threads';
import type { Outcome, Task } from './tasks.ts';

/** Runs all pieces on `threads` threads; outcomes are in the order of the tasks. `done` hears of each as it ends. */
export async function runTasks(
  tasks: readonly Task[],
  threads: number,
  done: (task: Task) => void,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const queue = tasks.entries();
  const work = async (): Promise<void> => {
    const worker = new Worker(new URL('worker.ts', import.meta.url));
    try {
      for (const [i, task] of queue) {
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
