// needs: docker-registry
/** Runs that are stopped or killed: no tag, nothing half-written, no temporary files, and the next run is none the worse. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import { runCli, runJson } from '../test-images/cli.ts';
import { type FaultProxy, startProxy } from '../test-images/proxy.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import { writeSynthetic } from '../test-images/synthetic.ts';
import { expectTrouble } from '../test-images/trouble.ts';
import type { BuildResult } from './rechunk.ts';

/** Takes some seconds to compress at {@link SLOWLY}, each frame of it well below one. */
const SYNTHETIC = { files: 200, bytes: 40_000_000, compression: 'none' } as const;
const SLOWLY = ['--compression-level', '10', '--threads', '1'];
/** Longest time between a signal and the end of the run, ms; well below 1000 on an idle machine. */
const END_LIMIT_MS = 4000;
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

const killed = suite('killed');
const work = mkdtempSync('/var/tmp/rechunk-killed-');
const layout = join(work, 'source');
const source = `oci:${layout}:latest`;
let registry: Registry;
let proxy: FaultProxy;
let count = 0;

killed.before(async () => {
  await writeSynthetic(layout, SYNTHETIC);
  registry = await startRegistry();
  proxy = await startProxy(registry.host);
});

killed.after(async () => {
  await proxy?.stop();
  await registry?.stop();
  rmSync(work, { recursive: true, force: true });
});

/** Waits until `isTrue`, looking often. */
async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await sleep(5);
}

/** Whether a layer is being written below `directory`. */
function isWriting(directory: string): boolean {
  if (!existsSync(directory)) return false;
  return readdirSync(directory, { recursive: true, withFileTypes: true }).some(
    (entry) => entry.isFile() && sizeOf(join(entry.parentPath, entry.name)) > 0,
  );
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Sends `signal` once `isTime`; gives the moment when it did, ms. */
function killWhen(
  isTime: () => boolean,
  signal: NodeJS.Signals,
): { onStart: (pid: number) => void; sentAt: () => number } {
  let at = Number.NaN;
  const kill = async (pid: number): Promise<void> => {
    await until(isTime);
    at = performance.now();
    process.kill(pid, signal);
  };
  return { onStart: (pid) => void kill(pid), sentAt: () => at };
}

function newLayout(): string {
  return join(work, `out-${count++}`);
}

async function tagsOf(repository: string): Promise<string[]> {
  const response = await fetch(`http://${registry.host}/v2/${repository}/tags/list`);
  return ((await response.json()) as { tags?: string[] }).tags ?? [];
}

for (const signal of SIGNALS) {
  killed(
    `${signal} while layers are written ends the run at once, and takes all back`,
    async () => {
      const out = newLayout();
      const { onStart, sentAt } = killWhen(() => isWriting(join(out, 'ingest')), signal);
      const trouble = {
        code: 'interrupted',
        says: new RegExp(`stopped by ${signal}`),
        absent: out,
      } as const;
      await expectTrouble(['build', source, `oci:${out}:latest`, ...SLOWLY], trouble, { onStart });
      assert.ok(performance.now() - sentAt() < END_LIMIT_MS, `${performance.now() - sentAt()} ms`);
    },
  );
}

/** Requests that the proxy leaves without an answer, and what the run is doing then. */
const STALLS: readonly (readonly [string, (method: string, path: string) => boolean])[] = [
  ['reads from', (method, path) => method === 'GET' && path.includes('/source/blobs/')],
  ['writes to', (method, path) => /PUT|PATCH/.test(method) && path.includes('/uploads/')],
];

for (const [doing, isStalled] of STALLS) {
  killed(
    `SIGTERM while the run ${doing} a registry that does not answer ends it at once`,
    async () => {
      if (doing === 'reads from')
        await runJson(['build', source, `docker://${registry.host}/source:latest`]);
      const repository = `stalled-${count++}`;
      let stalled = false;
      proxy.fault = ({ method, path, request }) => {
        if (!isStalled(method, path)) return false;
        stalled = true;
        request.resume();
        return true;
      };
      const { onStart, sentAt } = killWhen(() => stalled, 'SIGTERM');
      const from = doing === 'reads from' ? `docker://${proxy.host}/source:latest` : source;
      const to = `docker://${proxy.host}/${repository}:latest`;
      const trouble = { code: 'interrupted', says: /stopped by SIGTERM/ } as const;
      await expectTrouble(['build', from, to], trouble, { onStart });
      assert.ok(performance.now() - sentAt() < END_LIMIT_MS, `${performance.now() - sentAt()} ms`);
      assert.deepEqual(await tagsOf(repository), []);
    },
  );
}

killed('SIGKILL while layers are written leaves no image, and the next run cleans up', async () => {
  const out = newLayout();
  const temp = mkdtempSync(join(work, 'temp-'));
  const { onStart } = killWhen(() => isWriting(join(out, 'ingest')), 'SIGKILL');
  const args = ['build', source, `oci:${out}:latest`, '--temp-dir', temp];
  const { status } = await runCli([...args, ...SLOWLY], { onStart });
  assert.equal(status, null);
  assert.deepEqual(readdirSync(out), ['ingest']);
  assert.deepEqual(readdirSync(temp), []);
  const { digest } = await runJson<BuildResult>(args);
  assert.deepEqual(readdirSync(out).sort(), ['blobs', 'index.json', 'oci-layout']);
  const again = await runJson<BuildResult>(['build', source, `oci:${newLayout()}:latest`]);
  assert.equal(digest, again.digest);
  const blobs = readdirSync(join(out, 'blobs/sha256')).length;
  assert.equal(blobs, (again.images[0]?.layers.length ?? 0) + 2);
});

killed(
  'SIGKILL during an upload leaves no tag, and the next run removes what waited for it',
  async () => {
    const repository = `killed-${count++}`;
    const temp = mkdtempSync(join(work, 'temp-'));
    let uploading = false;
    proxy.fault = ({ method, path }) => {
      if (!/PUT|PATCH/.test(method) || !path.includes('/uploads/')) return false;
      uploading = true;
      return true;
    };
    const { onStart } = killWhen(() => uploading, 'SIGKILL');
    const to = `docker://${proxy.host}/${repository}:latest`;
    await runCli(['build', source, to, '--temp-dir', temp], { onStart });
    assert.deepEqual(await tagsOf(repository), []);
    proxy.fault = () => false;
    await runJson(['build', source, to, '--temp-dir', temp]);
    assert.deepEqual(await tagsOf(repository), ['latest']);
    assert.deepEqual(readdirSync(temp), []);
  },
);

killed('a second signal does not wait for the first', async () => {
  const out = newLayout();
  const { onStart, sentAt } = killWhen(() => isWriting(join(out, 'ingest')), 'SIGTERM');
  const twice = (pid: number): void => {
    onStart(pid);
    void until(() => !Number.isNaN(sentAt())).then(() => process.kill(pid, 'SIGTERM'));
  };
  const { status } = await runCli(['build', source, `oci:${out}:latest`, ...SLOWLY], {
    onStart: twice,
  });
  assert.equal(status, 2);
  assert.ok(!existsSync(join(out, 'index.json')));
});

killed.run();
