// needs: root, skopeo, umoci, podman, containerd, ctr, getfattr, python3
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { CASES, type Case, writeCase } from './cases.ts';
import { factsOf } from './member.ts';
import { compareListings, listTree } from './oracle.ts';
import { TOOLS, type Tool, unpackWith } from './runtime.ts';

const directory = mkdtempSync(join(tmpdir(), 'rechunk-cases-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

/** GNU tar extracts one archive faithfully, but applies no layers; vfs is slow and asked where it is known to differ. */
function toolsFor(hostile: Case): Tool[] {
  return TOOLS.filter((tool) => {
    if (tool === 'skopeo+tar') return hostile.layers.length === 1;
    return tool !== 'podman-vfs' || hostile.known?.[tool] !== undefined;
  });
}

interface Outcome {
  readonly state: 'same' | 'differs' | 'fails';
  readonly detail: string;
}

async function outcomeOf(hostile: Case, layout: string, tool: Tool): Promise<Outcome> {
  const unpacked = await unpackWith(tool, `oci:${layout}:latest`, `${layout}-${tool}`).catch(
    (error: Error) => error,
  );
  if (unpacked instanceof Error) return { state: 'fails', detail: unpacked.message };
  try {
    const found = await listTree(unpacked.root);
    const options = { root: 'ignore', dirMtimes: 'ignore' } as const;
    const differences = compareListings(factsOf(hostile.tree), found, options);
    return { state: differences.length > 0 ? 'differs' : 'same', detail: differences.join('\n') };
  } catch (error) {
    // A tree that cannot even be listed: overlayfs shows whiteouts that stand in no lower directory.
    return { state: 'differs', detail: (error as Error).message };
  } finally {
    await unpacked.close();
  }
}

type Results = ReadonlyMap<Tool, Outcome>;

async function runCase(hostile: Case, number: number): Promise<Results> {
  const layout = join(directory, String(number));
  await writeCase(layout, hostile);
  const results = new Map<Tool, Outcome>();
  for (const tool of toolsFor(hostile)) results.set(tool, await outcomeOf(hostile, layout, tool));
  return results;
}

// uvu runs one test at a time; the tools are started ahead, as many as the machine has cores.
const waiting = [...CASES.keys()];
const settled = new Map<number, PromiseWithResolvers<Results>>(
  waiting.map((number) => [number, Promise.withResolvers<Results>()]),
);
async function worker(): Promise<void> {
  for (let number = waiting.shift(); number !== undefined; number = waiting.shift()) {
    const { promise, resolve, reject } = settled.get(number) as PromiseWithResolvers<Results>;
    promise.catch(() => {});
    await runCase(CASES[number] as Case, number).then(resolve, reject);
  }
}
void Promise.all(Array.from({ length: availableParallelism() }, worker));

for (const [number, hostile] of CASES.entries()) {
  test(`real tools see what the case states: ${hostile.name}`, async () => {
    const results = (await settled.get(number)?.promise) as Results;
    for (const [tool, { state, detail }] of results) {
      assert.equal(state, hostile.known?.[tool] ?? 'same', `${tool}: ${detail}`);
    }
    assert.equal(results.size, toolsFor(hostile).length);
  });
}

test.run();
