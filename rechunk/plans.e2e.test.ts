// needs: root, python3, faketime, unshare, taskset
/** A plan is a function of the image and of what earlier images tell: of no machine, no order of files, and no clock. */
import assert from 'node:assert/strict';
import { lutimesSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import { writeLayout } from '../test-images/build.ts';
import { type CliOptions, runJson } from '../test-images/cli.ts';
import { command } from '../test-images/command.ts';
import { file, packMembers } from '../test-images/member.ts';
import type { Inspection } from './inspect.ts';
import type { BuildResult } from './rechunk.ts';

const plans = suite('plans');
const work = mkdtempSync('/var/tmp/rechunk-plans-');
const map = join(work, 'map');
const names = Array.from({ length: 40 }, (_, i) => `part${String((i * 7) % 40).padStart(2, '0')}`);
const options = ['--map', map, '--max-layers', '9', '--quiet'];
const RELEASES = ['r0', 'r1', 'r2', 'r3'];
const source = (release: string): string => `oci:${join(work, 'sources')}:${release}`;
const memory = join(work, 'memory');

/** What part has in a release: every fifth part changes each time, others seldom. */
function content(name: string, release: number): string {
  const number = Number(name.slice(4));
  const version = number % 5 === 0 ? release : number % 7 === 0 ? release >> 1 : 0;
  return `${name} ${version} `.repeat(2000 + 500 * number);
}

plans.before(async () => {
  writeFileSync(map, names.map((name) => `/${name}/ ${name}\n`).join(''));
  const images = RELEASES.map(async (tag, release) => {
    const members = names.map((name) => file(`${name}/file`, content(name, release)));
    return { tag, layers: [{ tar: await packMembers(members) }] };
  });
  await writeLayout(join(work, 'sources'), await Promise.all(images));
  for (const release of RELEASES.slice(0, -1)) await build(release, `oci:${memory}:${release}`);
  await runJson(['build', source('r2'), `oci:${memory}:known`, ...options, ...previousOf(2)]);
});

plans.after(async () => {
  await command('umount', ['-lq', join(work, 'order')]).catch(() => undefined);
  rmSync(work, { recursive: true, force: true });
});

const previousOf = (release: number): string[] => ['--previous', `oci:${memory}:r${release - 1}`];

function build(release: string, to: string): Promise<BuildResult> {
  const number = Number(release.slice(1));
  return runJson([
    'build',
    source(release),
    to,
    ...options,
    ...(number > 0 ? previousOf(number) : []),
  ]);
}

const HISTORY = [
  '--previous',
  `oci:${memory}:known`,
  '--history',
  `oci:${memory}:r0`,
  '--history',
  `oci:${memory}:r1`,
];

/** Digest and plan of the last release, built with all that is remembered. */
async function lastRelease(run: CliOptions = {}): Promise<unknown> {
  const out = mkdtempSync(join(work, 'out-'));
  const all = [...options, ...HISTORY];
  const built = await runJson<BuildResult>(['build', source('r3'), `oci:${out}:x`, ...all], run);
  const planned = await runJson(['plan', source('r3'), ...all], run);
  rmSync(out, { recursive: true });
  return { digest: built.digest, planned };
}

let expected: unknown;

plans(
  'one processor, another host name and locale, a chroot: the same plan and digest',
  async () => {
    expected = await lastRelease();
    const root = join(work, 'root');
    mkdirSync(root);
    const script = `mount --rbind / '${root}' && hostname elsewhere && exec taskset -c 0 chroot '${root}' "$@"`;
    const under = ['unshare', '--mount', '--uts', 'sh', '-ec', script, 'sh'];
    const env = { LC_ALL: 'tr_TR.UTF-8', LANG: 'tr_TR.UTF-8', TZ: 'Pacific/Auckland', HOME: '/' };
    assert.deepEqual(await lastRelease({ under, env }), expected);
  },
);

for (const shift of ['+35 days', '-20 years']) {
  plans(`the clock moved by ${shift}: the same plan and digest`, async () => {
    assert.deepEqual(
      await lastRelease({
        under: ['faketime', '-f', shift.replace(' days', 'd').replace(' years', 'y')],
      }),
      expected,
    );
  });
}

plans('files in another order, in an archive and in a directory: the same layers', async () => {
  const layersOf = async (from: string): Promise<unknown> => {
    const to = `oci:${mkdtempSync(join(work, 'out-'))}:x`;
    await runJson(['build', from, to, ...options, '--previous', `oci:${memory}:known`]);
    const { layers } = await runJson<Inspection>(['inspect', to]);
    return layers.map(({ digest, components }) => [digest, components]);
  };
  const layers = await layersOf(source('r3'));
  const reversed = [...names].reverse().map((name) => file(`${name}/file`, content(name, 3)));
  const other = join(work, 'other');
  await writeLayout(other, [{ layers: [{ tar: await packMembers(reversed) }] }]);
  assert.deepEqual(await layersOf(`oci:${other}:latest`), layers);
  // A tmpfs lists names in the order in which they were made.
  const order = join(work, 'order');
  mkdirSync(order);
  await command('mount', ['-t', 'tmpfs', 'tmpfs', order]);
  const trees = [names, [...names].reverse()].map((some, i) => {
    for (const name of some) {
      const path = join(order, String(i), name, 'file');
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content(name, 3));
      lutimesSync(path, 1, 1);
    }
    return layersOf(`rootfs:${join(order, String(i))}`);
  });
  const [one, two] = await Promise.all(trees);
  assert.deepEqual(one, two);
});

plans(
  'planning again with the result as the previous image changes nothing, whatever history is read',
  async () => {
    const out = join(work, 'again');
    const all = [...options, ...HISTORY];
    const first = await runJson<BuildResult>(['build', source('r3'), `oci:${out}:x`, ...all]);
    for (const history of [[], ['--history', '5'], HISTORY.slice(2), ['--history', source('r0')]]) {
      const again = await runJson<BuildResult>([
        'build',
        source('r3'),
        `oci:${out}:y`,
        ...options,
        '--previous',
        `oci:${out}:x`,
        ...history,
      ]);
      assert.equal(again.digest, first.digest, history.join(' '));
    }
  },
);

plans.run();
