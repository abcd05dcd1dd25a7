/** Daemons that a test starts by hand. */
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

/** Pause between two looks, ms. */
const PAUSE_MS = 100;

/** Waits until `probe` succeeds; throws what it threw last once `daemon` has ended or `timeout` (ms) is over. */
export async function untilUp(
  daemon: Pick<ChildProcess, 'exitCode'>,
  probe: () => Promise<unknown>,
  timeout: number,
): Promise<void> {
  const deadline = Date.now() + timeout;
  for (;;) {
    try {
      await probe();
      return;
    } catch (error) {
      if (daemon.exitCode !== null || Date.now() > deadline) throw error;
      await sleep(PAUSE_MS);
    }
  }
}
