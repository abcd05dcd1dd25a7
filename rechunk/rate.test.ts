import assert from 'node:assert/strict';
import { test } from 'uvu';
import { changeRate, expectChanges, PRIOR_RATE } from './rate.ts';

test('a stated interval is the rate; else changes within a year and a half before the newest one are counted', () => {
  const day = 86_400;
  const now = 2_000_000_000;
  assert.equal(changeRate({ kind: 'user', updateIntervalDays: 7 }, now), 1_000_000);
  assert.equal(changeRate({ kind: 'user', updateIntervalDays: 70 }, now), 100_000);
  assert.equal(changeRate({ kind: 'package' }, now), PRIOR_RATE.package);
  const weekly = Array.from({ length: 52 }, (_, i) => now - i * 7 * day);
  const quarterly = Array.from({ length: 4 }, (_, i) => now - i * 91 * day);
  const old = [now - 700 * day];
  const rates = [weekly, quarterly, old].map((changeTimes) =>
    changeRate({ kind: 'package', changeTimes }, now),
  );
  assert.deepEqual(
    rates,
    [...rates].sort((a, b) => b - a),
  );
  assert.ok((rates[0] as number) > 800_000 && (rates[2] as number) < PRIOR_RATE.package);
});

test('of packages of languages, a version tells frequent ones from settled ones', () => {
  const rate = (...packages: string[]): number => changeRate({ kind: 'language', packages }, 0);
  assert.equal(rate('@aws-sdk/core@3.888.0'), 400_000);
  assert.equal(rate('caniuse-lite@1.0.30001741'), 400_000);
  assert.equal(rate('express@5.1.0'), PRIOR_RATE.language);
  assert.equal(rate('once@2.0.0'), 10_000);
  assert.equal(rate('a@1.0.0', 'b@1.60.0'), 400_000);
  assert.equal(rate('odd@latest'), PRIOR_RATE.language);
  assert.equal(rate(), PRIOR_RATE.language);
  assert.equal(changeRate({ kind: 'package', packages: ['a@1.0.0'] }, 0), PRIOR_RATE.package);
});

test('what recorded changes cover counts; npm scopes and first words are families; databases stay apart', () => {
  const week = 7 * 86_400;
  const now = 2_000_000_000;
  const expect = (id: string, more: object = {}): object => {
    const { rate: _, ...rest } = expectChanges({ id, kind: 'package', ...more }, now);
    return rest;
  };
  const plain = { weight: 3, family: undefined, apart: false };
  assert.deepEqual(expect('dpkg:a-b'), plain);
  assert.deepEqual(expect('dpkg:a', { changeTimes: [now - 20 * week, now] }), {
    ...plain,
    weight: 23,
  });
  assert.deepEqual(expect('dpkg:a', { changeTimes: [now - 90 * week] }), { ...plain, weight: 81 });
  assert.deepEqual(expect('dpkg:a', { updateIntervalDays: 7 }), { ...plain, weight: 30 });
  assert.deepEqual(expect('database:dpkg', { kind: 'database' }), { ...plain, apart: true });
  for (const name of ['@babel/core', 'babel-core', 'a/node_modules/babel', 'babel.js']) {
    assert.deepEqual(expect(`node:/app/node_modules/${name}`), { ...plain, family: 'babel' });
  }
  assert.deepEqual(expect('node:/app/node_modules'), plain);
});

test('a component of very many packages has a rate', () => {
  const packages = Array.from({ length: 200_000 }, (_, i) => `p${i}@1.0.0`);
  assert.equal(changeRate({ kind: 'language', packages }, 0), 10_000);
});

test.run();
