// needs: root, unshare, nsenter, mmdebstrap, skopeo, umoci, podman, containerd, ctr, dockerd, ostree, python3
/** Real runtimes on an image with odd directories under every parents policy: each shows what its model says, path by path. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import { buildRow, POLICY_ROWS, readLayout, writeOdd } from '../../test-images/policies.ts';
import { modelFor, viewOfReal } from '../../test-images/realview.ts';
import { workAhead } from '../../test-images/runtimes/measure.ts';
import {
  closeRuntimes,
  type Runtime,
  runtimes,
  view,
} from '../../test-images/runtimes/runtimes.ts';
import { showTime } from '../verify.ts';
import type { RuntimeModel } from './model.ts';
import { type IsolatedLayer, isolateLayers } from './stack.ts';
import { listView, type View, type ViewNode, viewOf } from './view.ts';

const work = mkdtempSync('/var/tmp/rechunk-real-');
process.once('exit', () => rmSync(work, { recursive: true, force: true }));

const odd = join(work, 'odd');
await writeOdd(odd);
const { tree } = await readLayout(odd, work);
const stacks = new Map<string, readonly IsolatedLayer[]>();
/** The rows in which runtimes differ most; `npm run runtimes` measures all. */
const ROWS: ReadonlySet<string> = new Set(['full', 'implicit', 'shared', 'neutral-user']);

for (const row of POLICY_ROWS.filter(({ id }) => ROWS.has(id))) {
  await buildRow(odd, join(work, row.id), row, work);
  stacks.set(row.id, isolateLayers((await readLayout(join(work, row.id), work)).layers));
}

function showXattrs(xattrs: ReadonlyMap<string, Uint8Array>): string[] {
  return [...xattrs].map(([name, value]) => `${name}=${Buffer.from(value).toString('hex')}`).sort();
}

function showNode({ inode, isNow, leaked, dangling }: ViewNode): string {
  if (dangling) return 'dangling';
  const { type, mode, uid, gid, mtime, size, target } = inode;
  const time = isNow ? 'now' : showTime(mtime);
  const xattrs = [...showXattrs(inode.xattrs), ...showXattrs(leaked)].join(' ');
  return `${type} ${mode.toString(8)} ${uid}:${gid} ${time} ${size} ${target} ${xattrs}`;
}

/** All but the root. */
function showView({ refused, root }: View): unknown {
  if (refused) return 'refused';
  const shown = [...listView(root)].map(([path, node]) => [path, showNode(node)] as const);
  return Object.fromEntries(shown.filter(([path]) => path !== '').sort());
}

const all = await runtimes();

/**
 * The rows of a runtime. One that both suites have takes every other row in each of them, so that all are taken of its kind;
 * `RECHUNK_TEST_LONG=1` takes all of each.
 */
function rowsFor({ id, name, suite }: Runtime): readonly string[] {
  const kind = name.replace(` (${suite})`, '');
  const isTwice = all.some((one) => one.id !== id && one.name.startsWith(`${kind} (`));
  if (!isTwice || process.env['RECHUNK_TEST_LONG']) return [...stacks.keys()];
  return [...stacks.keys()].filter((_, i) => i % 2 === (suite === 'trixie' ? 1 : 0));
}

/** What the runtime shows, by row. */
async function lookAtAll(runtime: Runtime): Promise<ReadonlyMap<string, unknown>> {
  const model = modelFor(runtime.id) as RuntimeModel;
  const shown = new Map<string, unknown>();
  for (const row of rowsFor(runtime)) {
    const seen = await view(runtime, join(work, row));
    shown.set(row, showView(viewOfReal(model, seen, tree)));
  }
  return shown;
}

const seen = workAhead(all, lookAtAll);
for (const runtime of all) {
  const { id } = runtime;
  for (const row of rowsFor(runtime)) {
    const stack = stacks.get(row) ?? assert.fail(row);
    test(`${id} shows of ${row} what the model says`, async () => {
      const found = (await seen.get(id))?.get(row);
      assert.deepEqual(found, showView(viewOf(modelFor(id) as RuntimeModel, stack)));
    });
  }
}

test.after(closeRuntimes);
test.run();
