/** What option values mean. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { RechunkError } from '../../registry/errors.ts';
import {
  formatMoment,
  formatSize,
  oneLine,
  parseMoment,
  parseSize,
  parseSwitch,
} from './values.ts';

const isUsage = (error: unknown): boolean =>
  error instanceof RechunkError && error.code === 'usage';

const moments: readonly (readonly [string, string])[] = [
  ['0', '1970-01-01T00:00:00Z'],
  ['-1', '1969-12-31T23:59:59Z'],
  ['253402300799', '9999-12-31T23:59:59Z'],
  ['2026-11-21', '2026-11-21T00:00:00Z'],
  ['2026-11-21T01:02:03', '2026-11-21T01:02:03Z'],
  ['2026-11-21 01:02', '2026-11-21T01:02:00Z'],
  ['2026-11-21t01:02:03z', '2026-11-21T01:02:03Z'],
  ['2026-11-21T01:02:03.5+02:00', '2026-11-20T23:02:03Z'],
];

for (const [text, moment] of moments) {
  test(`a moment '${text}' is ${moment} in every time zone`, () => {
    const zone = process.env['TZ'];
    try {
      for (const tz of ['UTC', 'Asia/Tokyo', 'America/New_York']) {
        process.env['TZ'] = tz;
        assert.equal(formatMoment(parseMoment(text, '--created')), moment);
      }
    } finally {
      if (zone === undefined) delete process.env['TZ'];
      else process.env['TZ'] = zone;
    }
  });
}

for (const text of ['', 'now', '1e9', '2026-13-01', '2026-11-21T', '99999999999999999']) {
  test(`'${text}' is no moment`, () => {
    assert.throws(() => parseMoment(text, '--created'), isUsage);
  });
}

test('switches of the environment are on, off, or an error', () => {
  for (const text of ['true', '1', 'YES', 'on']) assert.equal(parseSwitch(text, 'X'), true);
  for (const text of ['false', '0', 'No', 'off', '']) assert.equal(parseSwitch(text, 'X'), false);
  assert.throws(() => parseSwitch('maybe', 'X'), isUsage);
});

test('text of an image is one line that no terminal obeys', () => {
  assert.equal(oneLine('RUN a\t&&\n  b\x1b]0;title\x07 \x9b31mc\r'), 'RUN a && b ]0;title 31mc');
  assert.equal(oneLine('a\u202eb\u200b\u2066'), 'a\\u{202e}b\\u{200b}\\u{2066}');
  assert.equal(oneLine('dpkg:libstdc++6 ünï'), 'dpkg:libstdc++6 ünï');
});

test('sizes have decimal and binary units', () => {
  const sizes = ['1', '1k', '1KiB', '1.5 MB', '2GiB'].map((text) => parseSize(text, 'X'));
  assert.deepEqual(sizes, [1, 1000, 1024, 1_500_000, 2 ** 31]);
  for (const text of ['0', '-1', '1x', '', '9999999T']) {
    assert.throws(() => parseSize(text, 'X'), isUsage, text);
  }
  assert.deepEqual([0, 999, 1000, 999_960].map(formatSize), ['0 B', '999 B', '1.0 kB', '1.0 MB']);
});

test.run();
