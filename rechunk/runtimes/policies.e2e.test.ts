// needs: python3
/** The parents policies on an image with odd directories: what every model shows of them, real builds underneath. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import {
  buildRow,
  POLICY_ROWS,
  type PolicyRow,
  readLayout,
  writeOdd,
} from '../../test-images/policies.ts';
import type { Tree } from '../tree.ts';
import type { LayerIndex } from '../upper.ts';
import type { ComparedView } from './compare.ts';
import { modelOf } from './models.ts';
import { compareRuntimes } from './report.ts';

const work = mkdtempSync('/var/tmp/rechunk-policies-');
process.once('exit', () => rmSync(work, { recursive: true, force: true }));
const odd = join(work, 'odd');
let meant: Tree;
const built = new Map<string, readonly LayerIndex[]>();

test.before(async () => {
  await writeOdd(odd);
  meant = (await readLayout(odd, work)).tree;
});

async function layersOf(id: string): Promise<readonly LayerIndex[]> {
  const known = built.get(id);
  if (known) return known;
  const row = POLICY_ROWS.find((one) => one.id === id) as PolicyRow;
  await buildRow(odd, join(work, id), row, work);
  const { layers } = await readLayout(join(work, id), work);
  built.set(id, layers);
  return layers;
}

/** What is not right, by model. */
function wrongOnes(views: readonly ComparedView[]): Record<string, string> {
  const wrong = views.filter(({ verdict }) => verdict !== 'right');
  return Object.fromEntries(
    wrong.map(({ id, differences, refused }) => [
      id,
      refused?.reason ?? [...new Set(differences.map(({ what }) => what))].sort().join(' '),
    ]),
  );
}

const each = (ids: readonly string[], said: string): Record<string, string> =>
  Object.fromEntries(ids.map((id) => [id, said]));

const UNSET = 'the xattr trusted.overlay.dirmeta_delegate cannot be set';

/** With the skeleton where the runtime wants it: markers that leak, or that cannot be set, are all that is left. */
const right: readonly (readonly [string, Record<string, string>])[] = [
  ['full', {}],
  ['shared-both', {}],
  [
    'shared',
    {
      ostree: 'mode owner xattrs',
      'composefs-rs':
        'a directory that holds an entry is defined neither before it nor by a lower layer',
    },
  ],
  [
    'delegate',
    {
      ...each(['podman-composefs', 'umoci'], 'leaked'),
      'podman-chunked-rootless': UNSET,
    },
  ],
  [
    'delegate-user',
    each(
      [
        'podman-overlay',
        'podman-chunked',
        'podman-composefs',
        'podman-vfs',
        'docker-overlay2',
        'docker-overlay2-rootless',
        'containerd',
        'containerd-parallel',
        'containerd-native',
        'containerd-rootless',
        'umoci',
        'delegating-overlay',
      ],
      'leaked',
    ),
  ],
  ['neutral', { 'podman-chunked-rootless': UNSET }],
  [
    'neutral-user',
    each(
      ['podman-vfs', 'docker-overlay2-rootless', 'containerd-native', 'containerd-rootless'],
      'leaked',
    ),
  ],
];

for (const [id, wanted] of right) {
  test(`${id}: metadata is right for every runtime but those that are named`, async () => {
    assert.deepEqual(wrongOnes(compareRuntimes(meant, await layersOf(id))), wanted);
  });
}

/** The layers without markers. */
function unmarked(layers: readonly LayerIndex[]): LayerIndex[] {
  return layers.map((layer) => ({
    ...layer,
    entries: [...layer.entries].map((entry) => ({
      ...entry,
      xattrs: new Map([...entry.xattrs].filter(([name]) => !name.endsWith('.dirmeta_delegate'))),
    })),
  }));
}

test('who delegates needs the bottom copy only, and the markers', async () => {
  const models = ['delegating-overlay']
    .map((id) => modelOf(id))
    .filter((model) => model !== undefined);
  const show = (layers: readonly LayerIndex[]): Record<string, string> =>
    wrongOnes(compareRuntimes(meant, layers, models));
  const layers = await layersOf('neutral-first');
  assert.deepEqual(show(layers), {});
  assert.deepEqual(show(unmarked(layers)), { 'delegating-overlay': 'mode owner time xattrs' });
  assert.deepEqual(show(layers.slice(1)), {
    'delegating-overlay': 'missing mode owner time xattrs',
  });
});

test('layers without directories over a first skeleton are right for who marks what is implied, or takes it from below', async () => {
  const wrong = wrongOnes(compareRuntimes(meant, await layersOf('implicit')));
  for (const id of [
    'delegating-overlay',
    'delegating-overlay-rootless',
    'umoci',
    'ostree',
    'composefs-rs',
  ])
    assert.equal(wrong[id], undefined, id);
  for (const id of ['containerd', 'podman-vfs']) assert.equal(wrong[id], 'time', id);
  assert.match(wrong['podman-overlay'] ?? '', /mode owner/);
});

test.run();
