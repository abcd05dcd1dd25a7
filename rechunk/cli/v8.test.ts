import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'uvu';

const V8 = new URL('./v8.ts', import.meta.url).href;

/** Makes much that stays alive for a while; prints the largest sizes of the generations in MiB. */
const PROGRAM = `
  import { getHeapSpaceStatistics } from 'node:v8';
  const sizeOf = (name) => getHeapSpaceStatistics().find((one) => one.space_name === name).space_size;
  let kept = [];
  const most = { young: 0, old: 0 };
  const note = (what, bytes) => (most[what] = Math.max(most[what], Math.round(bytes / 2 ** 20)));
  for (let i = 0; i < 1e6; i++) {
    kept.push({ i, more: { i } });
    if (kept.length === 1e5) {
      kept = [];
      note('young', sizeOf('new_space'));
      note('old', sizeOf('old_space'));
    }
  }
  console.log(JSON.stringify(most));
`;

interface Sizes {
  readonly young: number;
  readonly old: number;
}

function sizesOf(preparation: string): Sizes {
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module'];
  const program = `${preparation}\n${PROGRAM}`;
  const run = spawnSync(process.execPath, [...args, '--eval', program], { encoding: 'utf8' });
  // V8 tells there of flags that it does not know.
  assert.equal(run.stderr, '');
  return JSON.parse(run.stdout);
}

test('a bounded heap takes little room beyond what is alive', () => {
  const bounded = sizesOf(
    `import { expectLargeImage } from ${JSON.stringify(V8)}; expectLargeImage();`,
  );
  const free = sizesOf('');
  const text = `${JSON.stringify(bounded)}, without a bound ${JSON.stringify(free)}`;
  assert.ok(bounded.young <= 16, text);
  assert.ok(bounded.young + bounded.old < free.young + free.old, text);
});

test.run();
