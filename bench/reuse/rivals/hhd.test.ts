/** The model's rules on components that can be followed by hand. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { type HhdItem, halfWeeks, packHhd } from './hhd.ts';

const HALF_WEEK = 302_400;
const NOW = 5000 * HALF_WEEK;
/** Three entries, so that it is not taken to change always. */
const changedAt = (...ago: number[]): HhdItem['updates'] =>
  halfWeeks([0, 0, 0, ...ago.map((n) => NOW - n * HALF_WEEK)], NOW);

const item = (name: string, size: number, ...ago: number[]): HhdItem => ({
  name,
  size,
  updates: changedAt(...ago),
  dedicated: false,
});

test('components that change in the same half-weeks share a layer', () => {
  const items = [
    item('a1', 100, 3, 9),
    item('b1', 99, 5, 20),
    item('a2', 40, 3, 9),
    item('b2', 41, 5, 20),
  ];
  const layers = packHhd(items, 2).map((names) => [...names].sort());
  assert.deepEqual(layers, [
    ['a1', 'a2'],
    ['b1', 'b2'],
  ]);
});

test('what no package owns has a layer of its own', () => {
  const rest: HhdItem = { ...item('rest', 1), dedicated: true };
  assert.deepEqual(packHhd([item('a', 5, 1), item('b', 4, 2), rest], 2), [['rest'], ['a', 'b']]);
});

test('a previous image keeps its layers, and what is new goes where it costs least', () => {
  const items = [item('a', 100, 3), item('b', 100, 5), item('new', 10, 5)];
  assert.deepEqual(packHhd(items, 2, [['b', 'gone'], ['a']]), [['b', 'new'], ['a']]);
});

test('with few changelog entries a package is taken to change always', () => {
  const bits = (words: readonly number[]): number =>
    words.reduce((sum, word) => sum + word.toString(2).replaceAll('0', '').length, 0);
  assert.equal(bits(halfWeeks([NOW], NOW)), 106);
  assert.equal(bits(changedAt(3, 9)), 2);
});

test.run();
