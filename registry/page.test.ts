import assert from 'node:assert/strict';
import { test } from 'uvu';
import { parseNextLink } from './page.ts';

const CASES: [string | undefined, string | undefined][] = [
  [undefined, undefined],
  ['', undefined],
  ['</v2/_catalog?last=b&n=2>; rel="next"', '/v2/_catalog?last=b&n=2'],
  ['<?last=b>;rel=next', '?last=b'],
  ['<https://reg/v2/x/tags/list?last=a,b;c>; rel="next"', 'https://reg/v2/x/tags/list?last=a,b;c'],
  ['</p>; rel="prev", </n>; rel="next"', '/n'],
  ['</n>; title="a"; REL="start next"', '/n'],
  ['</n>; rel="nextish"', undefined],
  ['</n>', undefined],
  ['nonsense', undefined],
];

for (const [header, want] of CASES) {
  test(`Link '${header}' names ${want ?? 'no next page'}`, () => {
    assert.equal(parseNextLink(header), want);
  });
}

test.run();
