import assert from 'node:assert/strict';
import { test } from 'uvu';
import { parseReceived } from './upload.ts';

const CASES: [string | undefined, number | undefined][] = [
  [undefined, undefined],
  ['', undefined],
  ['0-0', 0],
  ['0-1', 2],
  ['0-4194303', 4_194_304],
  ['bytes=0-99', 100],
  ['5-9', undefined],
  ['0-', undefined],
  ['bytes 0-9/10', undefined],
];

for (const [header, want] of CASES) {
  test(`Range '${header}' of an upload means ${want} bytes`, () => {
    assert.equal(parseReceived(header), want);
  });
}

test.run();
