// needs: skopeo, docker-registry
/** The figures of `rechunk diff` against a registry's access log: what a real client pulls, and what the command itself reads. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { jsonHere } from '../../test-images/cli.ts';
import { command } from '../../test-images/command.ts';
import { type AccessRecord, type Registry, startRegistry } from '../../test-images/registry.ts';
import type { DiffReport } from '../library.ts';

const pull = suite('pull');
const packages = fileURLToPath(new URL('../../test-images/packages/apk/', import.meta.url));
const archive = `docker-archive:${packages}alpine-3.11.5-docker.tar.gz`;
let work: string;
let registry: Registry;
let repository: string;

pull.before(async () => {
  work = await mkdtemp('/var/tmp/rechunk-pull-');
  registry = await startRegistry();
  repository = `docker://${registry.host}/app`;
  await jsonHere(['build', archive, `${repository}:old`, '--fresh']);
  await jsonHere(['build', archive, `${repository}:new`, '--fresh', '--prune', '/etc/motd']);
});

pull.after(async () => {
  await registry?.stop();
  await rm(work, { recursive: true, force: true });
});

/** What was answered with bytes while `run` ran, by path: each once, however often a client asked. */
async function answered(run: () => Promise<unknown>): Promise<AccessRecord[]> {
  const before = registry.accessLog().length;
  await run();
  const records = registry.accessLog().slice(before);
  return records.filter(({ method, status }) => method === 'GET' && status === 200);
}

const diff = (): Promise<DiffReport> =>
  jsonHere<DiffReport>(['diff', `${repository}:old`, `${repository}:new`]);

pull('a real client that has the old image pulls as many bytes as the report says', async () => {
  const copy = (tag: string): Promise<unknown> => {
    const to = `oci:${join(work, 'node')}:${tag}`;
    return command('skopeo', ['copy', '-q', '--src-tls-verify=false', `${repository}:${tag}`, to]);
  };
  await copy('old');
  const records = await answered(() => copy('new'));
  const bodies = new Map(
    records.filter(({ path }) => /\/(blobs|manifests)\//.test(path)).map((r) => [r.path, r.bytes]),
  );
  const { update } = await diff();
  assert.ok(update && update.byBlob.layers > 0 && update.byBlob.bytes < 200_000);
  const pulled = [...bodies.values()].reduce((sum, bytes) => sum + bytes, 0);
  assert.equal(pulled, update.byBlob.bytes + update.documents);
});

pull('the command itself reads every layer once, whichever of the images has it', async () => {
  const records = await answered(diff);
  const blobs = records.map(({ path }) => path).filter((path) => path.includes('/blobs/'));
  assert.equal(new Set(blobs).size, blobs.length);
  const { layers, old } = await diff();
  const states = layers.filter(({ state }) => state !== 'shared');
  // And both configs.
  assert.equal(blobs.length, old.layers + states.length + 2);
});

pull.run();
