/** The engine of the models, by the rules of `flatten.ts`, against `flatten.ts` itself, on random stacks of layers. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import { RechunkError } from '../../registry/errors.ts';
import type { Path } from '../../registry/path.ts';
import { dir, file, type Member, opaque, symlink, whiteout } from '../../test-images/member.ts';
import { layersOf } from '../../test-images/memberlayers.ts';
import { flatten } from '../flatten.ts';
import type { Inode } from '../tree.ts';
import { FLATTENED, Layering } from './layering.ts';
import { isolateLayers } from './stack.ts';
import { listView } from './view.ts';

const SEED = 20261121;
const RUNS = 3000;

const names = fc.constantFrom('a', 'b', 'c');
const path = fc.array(names, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
const MARK = { xattrs: { 'trusted.overlay.dirmeta_delegate': 'y' } };

const member: fc.Arbitrary<Member> = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(path, fc.nat(9)).map(([at, n]) => file(`${at}/f`, `${n}`)) },
  { weight: 4, arbitrary: fc.tuple(path, fc.nat(0o777)).map(([at, mode]) => dir(at, { mode })) },
  fc.tuple(path, fc.nat(0o777)).map(([at, mode]) => dir(at, { mode, ...MARK })),
  path.map((at) => file(at)),
  path.map((at) => symlink(at, 'c')),
  path.map(whiteout),
  path.map(opaque),
);

const layers = fc.array(fc.array(member, { maxLength: 6 }), { minLength: 1, maxLength: 4 });

function line(at: Path, { type, mode, layer, sha256 }: Inode): string {
  return [at, type, mode.toString(8), layer, sha256].join(' ');
}

test('layers laid on each other by the rules of flattening give the flattened tree', () => {
  fc.assert(
    fc.property(layers, (members) => {
      let flat: string[];
      try {
        flat = flatten(layersOf(members)).entries.map(({ path: at, inode }) => line(at, inode));
      } catch (error) {
        if (error instanceof RechunkError) return;
        throw error;
      }
      const layering = new Layering(FLATTENED);
      for (const layer of isolateLayers(layersOf(members))) layering.add(layer);
      const found = [...listView(layering.root)].map(([at, { inode }]) => line(at, inode));
      assert.deepEqual(found.sort(), flat.sort());
    }),
    { seed: SEED, numRuns: RUNS },
  );
});

test('deletions that come too late take time that is linear in their number', () => {
  const names = Array.from({ length: 40_000 }, (_, i) => `f${i}`);
  const [layer] = isolateLayers(layersOf([names.flatMap((name) => [file(name), whiteout(name)])]));
  assert.ok(layer);
  const layering = new Layering({ ...FLATTENED, whiteouts: 'in-order' });
  const started = process.cpuUsage();
  layering.add(layer);
  const { user } = process.cpuUsage(started);
  assert.equal(layering.root.children?.size, 0);
  assert.ok(user < 2_000_000, `${user} µs`);
});

test.run();
