import assert from 'node:assert/strict';
import { test } from 'uvu';
import { digestOf } from '../oci.ts';
import { ROLLING_TEXT } from './rolling.ts';
import { assembleModule, runModule } from './wat.ts';

const ADD = `(module ;; as small as it gets
  (memory (export "memory") 1)
  (func (export "add") (param $a i32) (param $b i32) (result i32)
    (i32.add (local.get $a) (local.get $b))))`;

test('gives the bytes that wabt gives for the same text', () => {
  // `wat2wasm` of wabt 1.0.39.
  const wanted =
    '0061736d0100000001070160027f7f017f030201000503010001071002066d656d6f72790200036164640000' +
    '0a09010700200020016a0b';
  assert.equal(Buffer.from(assembleModule(ADD)).toString('hex'), wanted);
  const rolling = 'sha256:09610cad3a681a50715a5a229d241cfb7d6bf5b85ea67d73978f08d409d5d962';
  assert.equal(digestOf(assembleModule(ROLLING_TEXT)), rolling);
});

test('runs what it assembles: branches, memory, constants of both signs', () => {
  const { add } = runModule<{ add(a: number, b: number): number }>(ADD);
  assert.equal(add(2, 40), 42);
  const text = `(module
    (memory (export "memory") 1)
    (func (export "sum") (param $at i32) (param $end i32) (result i32)
      (local $sum i32)
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $sum (i32.add (local.get $sum) (i32.load8_u offset=1000 (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
      (i32.add (local.get $sum) (i32.const -70000))))`;
  const { memory, sum } = runModule<{ sum(at: number, end: number): number }>(text);
  new Uint8Array(memory.buffer).fill(200, 1000, 2000);
  assert.equal(sum(0, 1000), 200 * 1000 - 70_000);
});

test('refuses text with a name or an instruction that it does not know', () => {
  assert.throws(() => assembleModule(ADD.replace('get $b', 'get $c')), /\$c is declared/);
  assert.throws(() => assembleModule(ADD.replace('i32.add', 'i32.div_u')), /i32.div_u/);
});

test.run();
