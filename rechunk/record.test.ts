import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { test } from 'uvu';
import { digestOf } from '../registry/oci.ts';
import {
  escapeId,
  formatRecord,
  type PlanRecord,
  parseRecord,
  RECORD_LIMIT,
  unescapeId,
} from './record.ts';

const SEED = 20261121;

const digest = fc.stringMatching(/^[\w-]{12}$/);
const fingerprint = fc.constantFrom('', '0123456789abcdef0123456789abcdef');
const changes = fc.integer({ min: 0, max: 2 ** 30 - 1 });
const id = fc
  .array(fc.oneof(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 256, max: 0xffff })), {
    minLength: 1,
    maxLength: 12,
  })
  .map((codes) => String.fromCharCode(...codes));

/** Records of some layers, some without components; ids are of any characters, with long shared starts. */
const records = fc
  .array(fc.tuple(fingerprint, fc.array(fc.tuple(id, digest, changes), { maxLength: 6 })), {
    maxLength: 5,
  })
  .map(
    (layers): PlanRecord => ({
      observed: 30,
      layers: layers.map(([print, components], n) => ({
        fingerprint: print,
        components: new Map(
          components.map(([name, hex, mask], i) => [
            `node:/app/node_modules/${n}-${i}${name}`,
            { digest: hex, changes: mask },
          ]),
        ),
      })),
    }),
  );

/** A record of layers that have one component each. */
const recordOf = (...layers: readonly (readonly string[])[]): PlanRecord => ({
  observed: 0,
  layers: layers.map((ids) => ({
    fingerprint: '',
    components: new Map(ids.map((name) => [name, { digest: '0123456789ab', changes: 0 }])),
  })),
});

const diffIdsOf = (record: PlanRecord): ReturnType<typeof digestOf>[] =>
  record.layers.map((_, i) => digestOf(`layer ${i}`));

function sorted(record: PlanRecord | undefined): unknown {
  return (
    record && {
      observed: record.observed,
      layers: record.layers.map((layer) => ({
        ...layer,
        components: [...layer.components].sort(([a], [b]) => (a < b ? -1 : 1)),
      })),
    }
  );
}

test('a record comes back as it was, ids of any characters included', () => {
  fc.assert(
    fc.property(records, (record) => {
      const diffIds = diffIdsOf(record);
      const text = formatRecord(record, diffIds)?.text as string;
      assert.match(text, /^[ -~]*$/);
      assert.deepEqual(sorted(parseRecord(text, diffIds)), sorted(record));
    }),
    { seed: SEED },
  );
});

test('an image built on top still gives the plan of the layers below; other layers give none', () => {
  const record = recordOf(['a'], ['b']);
  const diffIds = diffIdsOf(record);
  const text = formatRecord(record, diffIds)?.text as string;
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

test('layers of directories only, and those of others, take next to no room', () => {
  const fingerprint = '0123456789abcdef0123456789abcdef';
  const none = new Map();
  const [content] = recordOf(['a']).layers;
  assert.ok(content);
  const layers = [
    { fingerprint: '', components: none },
    content,
    { fingerprint, components: none },
  ];
  const record = { observed: 0, layers };
  const text = formatRecord(record, diffIdsOf(record))?.text as string;
  assert.match(text, / ;\|;0:a=0123456789ab\|0123456789abcdef0123456789abcdef;$/);
  assert.deepEqual(parseRecord(text, diffIdsOf(record)), record);
});

test('damaged records give none, and never anything else', () => {
  const record = recordOf(['dpkg:glibc', 'dpkg:gmp']);
  const diffIds = diffIdsOf(record);
  const text = formatRecord(record, diffIds)?.text as string;
  for (const damaged of [
    '',
    '1',
    text.slice(0, -3),
    text.replace('1 ', '2 '),
    `${text}|0:a=`,
    `${text}|`,
    `${text},`,
    `${text.slice(0, text.indexOf(';') + 1)},`,
    `${text},9z:x=0123456789ab`,
    `${text},0:dpkg%3aglibc=0123456789ab`,
    `${text}~1`,
    text.replace(' 0 ', ' 31 '),
    text.replace(';', 'x;'),
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
  const make = (count: number): PlanRecord =>
    recordOf(
      ...Array.from({ length: 100 }, (_, layer) =>
        Array.from(
          { length: count / 100 },
          (__, i) => `node:/app/node_modules/package-${(layer * 7919 + i * 104_729) % 999_983}`,
        ),
      ),
    );
  const three = make(3000);
  const text = formatRecord(three, diffIdsOf(three))?.text as string;
  assert.ok(text.length < RECORD_LIMIT && text.includes('=0123456789ab'), `${text.length}`);
  const eight = make(8000);
  const long = formatRecord(eight, diffIdsOf(eight))?.text as string;
  assert.ok(long.length <= RECORD_LIMIT && !long.includes('='), `${long.length}`);
  assert.equal(parseRecord(long, diffIdsOf(eight))?.layers.length, 100);
  const huge = make(40_000);
  assert.equal(formatRecord(huge, diffIdsOf(huge)), undefined);
});

test('ids of other scripts, as xattrs name components, are escaped and come back', () => {
  assert.equal(escapeId('xattr:模型 a'), 'xattr:%u6a21%u578b%20a');
  assert.equal(unescapeId('xattr:%u6a21%u578b%20a'), 'xattr:模型 a');
});

/** A text that describes `diffIds`, which holds `body`. */
function forge(diffIds: readonly string[], body: string): string {
  const binding = createHash('sha256').update(diffIds.join('\n')).digest('hex').slice(0, 16);
  return `1 ${binding}.${diffIds.length} 0 ${body}`;
}

/** A layer of `count` components, whose ids share `length` characters. */
const growing = (length: number, count: number): string =>
  `;0:${'x'.repeat(length)}${Array.from({ length: count }, (_, i) => `,${length.toString(36)}:${i}`).join('')}`;

test('shared starts that grow to more than memory holds are refused, at once', () => {
  const diffIds = [digestOf('layer')];
  const read = (length: number, count: number): number | undefined =>
    parseRecord(forge(diffIds, growing(length, count)), diffIds, 4 << 20)?.layers[0]?.components
      .size;
  assert.equal(read(4000, 1000), 1001);
  assert.equal(read(15_000, 10_000), undefined);
  assert.equal(read(36_000, 7000), undefined);
  assert.equal(read(16_001, 1), undefined);
});

test('more layers than any image that runs are refused', () => {
  const make = (count: number): PlanRecord =>
    recordOf(...Array.from({ length: count }, (_, i) => [`dpkg:${i}`]));
  const count = (record: PlanRecord): number | undefined =>
    parseRecord(formatRecord(record, diffIdsOf(record))?.text ?? '', diffIdsOf(record))?.layers
      .length;
  assert.equal(count(make(999)), 999);
  assert.equal(count(make(1000)), undefined);
});

test.run();
