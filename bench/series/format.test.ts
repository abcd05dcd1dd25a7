/** The stored form of series. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import { comparePaths, type Path } from '../../registry/path.ts';
import { decodeSeries, encodeSeries } from './format.ts';
import type { ComponentFacts, FileFacts, Release } from './series.ts';

const SEED = 20260920;

/** Content decides sizes, as it does in the world. */
function contentOf(n: number): Pick<FileFacts, 'content' | 'size' | 'compressedSize'> {
  if (n === 0) return { content: '', size: 0, compressedSize: 0 };
  return { content: n.toString(16).padStart(16, '0'), size: n * 10, compressedSize: n * 3 + 9 };
}

const name = fc.constantFrom('a', 'b', 'a/c', 'a/\xff', 'lib/x', 'lib/x/y', 'lib/xz', 'q w');
const file = fc
  .record({
    path: name,
    content: fc.nat(12).map(contentOf),
    metadata: fc.constantFrom('file 644 0:0', 'file 755 0:0', 'symlink 777 0:0 -> a'),
    mtime: fc.option(fc.integer({ min: -5, max: 2 ** 33 }), { nil: undefined }),
  })
  .map(
    ({ path, content, metadata, mtime }): FileFacts => ({
      path,
      ...content,
      metadata,
      ...(mtime !== undefined && { mtime }),
    }),
  );

function stateOf(id: string, files: readonly FileFacts[], extra: number): ComponentFacts {
  const sorted = [...files].sort((a, b) => comparePaths(a.path as Path, b.path as Path));
  return {
    id,
    kind: extra % 2 === 0 ? 'package' : 'language',
    ...(extra % 3 === 0 && { packages: [`${id} ${extra}`] }),
    ...(extra % 5 === 0 && { changeTimes: [extra, extra + 100] }),
    files: sorted,
    size: sorted.reduce((sum, { size }) => sum + size, 0),
    compressedSize: 100 + extra,
    changedSize: extra,
  };
}

const files = fc.uniqueArray(file, { selector: ({ path }) => path, maxLength: 8 });
const release = fc.uniqueArray(fc.tuple(fc.constantFrom('x', 'y', 'z'), files, fc.nat(30)), {
  selector: ([id]) => id,
});

/** Releases where a component's kind stays what it was first, and where states come back as objects. */
function seriesOf(drawn: readonly [string, FileFacts[], number][][]): Release[] {
  const kinds = new Map<string, ComponentFacts['kind']>();
  const known = new Map<string, ComponentFacts>();
  return drawn.map((states, i): Release => {
    const components = states
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([id, content, extra]) => {
        const state = stateOf(id, content, extra);
        const kind = kinds.get(id) ?? state.kind;
        kinds.set(id, kind);
        const key = JSON.stringify({ ...state, kind });
        known.set(key, known.get(key) ?? { ...state, kind });
        return known.get(key) as ComponentFacts;
      });
    return {
      name: `r${i}`,
      date: 1000 * i,
      components: new Map(components.map((state) => [state.id, state])),
    };
  });
}

test('what was written is read back, whatever came, changed, went and came back', () => {
  fc.assert(
    fc.property(fc.array(release, { maxLength: 6 }), (drawn) => {
      const series = seriesOf(drawn);
      assert.deepEqual(decodeSeries(encodeSeries(series)), series);
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test('states that did not change, and those that came back, are one object', () => {
  const state = stateOf('x', [], 1);
  const other = stateOf('x', [], 2);
  const drawn = [state, state, other, state].map((facts, i) => ({
    name: `${i}`,
    date: i,
    components: new Map([['x', facts]]),
  }));
  const [a, b, c, d] = decodeSeries(encodeSeries(drawn)).map(({ components }) =>
    components.get('x'),
  );
  assert.ok(a === b && a === d && a !== c);
});

test.run();
