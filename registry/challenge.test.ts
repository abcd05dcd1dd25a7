import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { test } from 'uvu';
import { parseChallenges } from './challenge.ts';

const CASES: [string, string | string[] | undefined, [string, Record<string, string>][]][] = [
  ['no header', undefined, []],
  ['an empty header', '', []],
  ['Basic', 'Basic realm="r"', [['basic', { realm: 'r' }]]],
  [
    'Bearer as Docker Hub sends it',
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull,push"',
    [
      [
        'bearer',
        {
          realm: 'https://auth.docker.io/token',
          service: 'registry.docker.io',
          scope: 'repository:library/x:pull,push',
        },
      ],
    ],
  ],
  [
    'two challenges in one header',
    'Basic realm="a, b", Bearer realm="c",error=insufficient_scope',
    [
      ['basic', { realm: 'a, b' }],
      ['bearer', { realm: 'c', error: 'insufficient_scope' }],
    ],
  ],
  [
    'two headers',
    ['Negotiate', 'BEARER Realm="c"'],
    [
      ['negotiate', {}],
      ['bearer', { realm: 'c' }],
    ],
  ],
  ['escapes in a quoted string', 'Basic realm="a\\"b\\\\c"', [['basic', { realm: 'a"b\\c' }]]],
  [
    'blanks around signs',
    'bearer  realm = "x" , service = y',
    [['bearer', { realm: 'x', service: 'y' }]],
  ],
  [
    'a token68 before another scheme',
    'Negotiate oRQwEqADCgEB/a==, Basic realm="r"',
    [
      ['negotiate', {}],
      ['basic', { realm: 'r' }],
    ],
  ],
  [
    'an unclosed quote',
    'Basic realm="abc',
    [
      ['basic', { realm: '' }],
      ['abc', {}],
    ],
  ],
];

for (const [name, header, want] of CASES) {
  test(`parses ${name}`, () => {
    const got = parseChallenges(header).map(({ scheme, parameters }) => [
      scheme,
      { ...parameters },
    ]);
    assert.deepEqual(got, want);
  });
}

test('a parameter named __proto__ is only a parameter', () => {
  const [challenge] = parseChallenges('Basic __proto__="x", realm=r');
  const parameters = Object.entries(challenge?.parameters ?? {});
  assert.deepEqual(parameters, [
    ['__proto__', 'x'],
    ['realm', 'r'],
  ]);
});

test('ends on whatever a server sends', () => {
  const property = fc.property(fc.string({ unit: 'binary-ascii' }), (text) => {
    parseChallenges(text);
  });
  fc.assert(property, { numRuns: 2000, seed: 20260101 });
});

test('reads back what a server quotes', () => {
  const text = fc.string({ unit: 'grapheme-ascii' });
  const property = fc.property(text, text, (realm, service) => {
    const quote = (value: string): string => `"${value.replace(/["\\]/g, '\\$&')}"`;
    const header = `Basic realm=${quote(service)}, Bearer realm=${quote(realm)},service=${quote(service)}`;
    const got = parseChallenges(header).map(({ parameters }) => ({ ...parameters }));
    assert.deepEqual(got, [{ realm: service }, { realm, service }]);
  });
  fc.assert(property, { numRuns: 500, seed: 20260102 });
});

test.run();
