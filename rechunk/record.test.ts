import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import { digestOf } from '../registry/oci.ts';
import { formatRecord, type PlanRecord, parseRecord, RECORD_LIMIT } from './record.ts';

const SEED = 20261121;

const digest = fc.integer({ min: 0, max: 2 ** 47 }).map((n) => n.toString(16).padStart(12, '0'));
const id = fc
  .array(fc.integer({ min: 0, max: 255 }), { minLength: 1, maxLength: 12 })
  .map((codes) => String.fromCharCode(...codes));

/** Records of some layers; ids are of any bytes, with long shared starts. */
const records = fc
  .array(fc.array(fc.tuple(id, digest), { minLength: 1, maxLength: 6 }), { maxLength: 5 })
  .map(
    (layers): PlanRecord => ({
      layers: layers.map(
        (layer, n) =>
          new Map(layer.map(([name, hex], i) => [`node:/app/node_modules/${n}-${i}${name}`, hex])),
      ),
    }),
  );

const diffIdsOf = (record: PlanRecord): ReturnType<typeof digestOf>[] =>
  record.layers.map((_, i) => digestOf(`layer ${i}`));

function sorted(record: PlanRecord | undefined): unknown {
  return record?.layers.map((layer) => [...layer].sort(([a], [b]) => (a < b ? -1 : 1)));
}

test('a record comes back as it was, ids of any bytes included', () => {
  fc.assert(
    fc.property(records, (record) => {
      const diffIds = diffIdsOf(record);
      const text = formatRecord(record, diffIds) as string;
      assert.match(text, /^[ -~]*$/);
      assert.deepEqual(sorted(parseRecord(text, diffIds)), sorted(record));
    }),
    { seed: SEED },
  );
});

test('an image built on top still gives the plan of the layers below; other layers give none', () => {
  const record = { layers: [new Map([['a', '0123456789ab']]), new Map([['b', '0123456789ab']])] };
  const diffIds = diffIdsOf(record);
  const text = formatRecord(record, diffIds) as string;
  assert.deepEqual(sorted(parseRecord(text, [...diffIds, digestOf('more')])), sorted(record));
  for (const others of [
    [],
    diffIds.slice(1),
    [...diffIds].reverse(),
    [digestOf('x'), ...diffIds],
  ]) {
    assert.equal(parseRecord(text, others), undefined);
  }
});

test('damaged records give none, and never anything else', () => {
  const record = {
    layers: [
      new Map([
        ['dpkg:glibc', '0123456789ab'],
        ['dpkg:gmp', '0123456789ac'],
      ]),
    ],
  };
  const diffIds = diffIdsOf(record);
  const text = formatRecord(record, diffIds) as string;
  for (const damaged of [
    '',
    '1',
    text.slice(0, -3),
    text.replace('1 ', '2 '),
    `${text}|0:a=`,
    `${text},9z:x=0123456789ab`,
    `${text},0:dpkg%3aglibc=0123456789ab`,
    'x'.repeat(200_000),
  ]) {
    const parsed = parseRecord(damaged, diffIds);
    assert.ok(parsed === undefined || parsed.layers.length === 1, damaged.slice(0, 80));
  }
  fc.assert(
    fc.property(fc.nat({ max: text.length - 1 }), fc.string({ maxLength: 3 }), (at, junk) => {
      parseRecord(text.slice(0, at) + junk + text.slice(at + 1), diffIds);
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test('three thousand components fit with their digests; far more lose the digests first', () => {
  const make = (count: number): PlanRecord => ({
    layers: Array.from(
      { length: 100 },
      (_, layer) =>
        new Map(
          Array.from({ length: count / 100 }, (_, i) => [
            `node:/app/node_modules/package-${(layer * 7919 + i * 104_729) % 999_983}`,
            '0123456789ab',
          ]),
        ),
    ),
  });
  const three = make(3000);
  const text = formatRecord(three, diffIdsOf(three)) as string;
  assert.ok(text.length < RECORD_LIMIT && text.includes('=0123456789ab'), `${text.length}`);
  const eight = make(8000);
  const long = formatRecord(eight, diffIdsOf(eight)) as string;
  assert.ok(long.length <= RECORD_LIMIT && !long.includes('='), `${long.length}`);
  assert.equal(parseRecord(long, diffIdsOf(eight))?.layers.length, 100);
  const huge = make(40_000);
  assert.equal(formatRecord(huge, diffIdsOf(huge)), undefined);
});

test.run();
