/**
 * Turns WebAssembly text into a module, so that the few loops that need it are kept as text and not as bytes. It reads the
 * part of the format that those use, in folded form: one memory, exported functions, parameters, locals, blocks, branches
 * to labels, and the instructions below (WebAssembly Core 2.0, sections 5 and 6). Any other assembler reads it too.
 */
import assert from 'node:assert/strict';

/** An expression `(head …)`: its words and the expressions in it. */
type Form = readonly (string | Form)[];

/** What follows an instruction's opcode. */
type Immediate = 'none' | 'i32' | 'i64' | 'lane' | 'lanes' | 'local' | 'label' | 'memory';

/** Opcodes; from 0xfd00 on they are those of SIMD, after its prefix. For loads the alignment's logarithm comes last. */
const INSTRUCTIONS: Readonly<Record<string, readonly [number, Immediate, align?: number]>> = {
  br: [0x0c, 'label'],
  br_if: [0x0d, 'label'],
  'local.get': [0x20, 'local'],
  'local.set': [0x21, 'local'],
  'local.tee': [0x22, 'local'],
  'i32.load': [0x28, 'memory', 2],
  'i64.load': [0x29, 'memory', 3],
  'i32.load8_u': [0x2d, 'memory', 0],
  'i64.load8_u': [0x31, 'memory', 0],
  'i32.store': [0x36, 'memory', 2],
  'i64.store': [0x37, 'memory', 3],
  'i32.const': [0x41, 'i32'],
  'i64.const': [0x42, 'i64'],
  'i32.ne': [0x47, 'none'],
  'i32.gt_u': [0x4b, 'none'],
  'i32.ge_u': [0x4f, 'none'],
  'i32.add': [0x6a, 'none'],
  'i32.sub': [0x6b, 'none'],
  'i32.and': [0x71, 'none'],
  'i32.shl': [0x74, 'none'],
  'i32.shr_u': [0x76, 'none'],
  'i64.and': [0x83, 'none'],
  'i64.xor': [0x85, 'none'],
  'i64.shr_u': [0x88, 'none'],
  'i32.wrap_i64': [0xa7, 'none'],
  'v128.load8x8_u': [0xfd02, 'memory', 3],
  'v128.const': [0xfd0c, 'lanes'],
  'i8x16.swizzle': [0xfd0e, 'none'],
  'i16x8.splat': [0xfd10, 'none'],
  'i16x8.extract_lane_u': [0xfd19, 'lane'],
  'i16x8.eq': [0xfd2d, 'none'],
  'v128.any_true': [0xfd53, 'none'],
  'i16x8.shl': [0xfd8b, 'none'],
  'i16x8.add': [0xfd8e, 'none'],
  'i16x8.sub': [0xfd91, 'none'],
  'i16x8.mul': [0xfd95, 'none'],
};
const TYPES: Readonly<Record<string, number>> = { i32: 0x7f, i64: 0x7e, v128: 0x7b };
const BLOCKS: Readonly<Record<string, number>> = { block: 0x02, loop: 0x03 };
const NO_RESULT = 0x40;
const END = 0x0b;
const SIMD = 0xfd;
const HEADER = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
const SECTION = { type: 1, function: 3, memory: 5, export: 7, code: 10 } as const;
const LANE_BYTES: Readonly<Record<string, number>> = { i8x16: 1, i16x8: 2 };

/** Reads the one form that `text` is. */
function parse(text: string): Form {
  const top: (string | Form)[] = [];
  const open: (string | Form)[][] = [top];
  for (const [word] of text.replace(/;;.*/g, '').matchAll(/[()]|"[^"]*"|[^\s()"]+/g)) {
    if (word === '(') {
      const form: (string | Form)[] = [];
      open.at(-1)?.push(form);
      open.push(form);
    } else if (word === ')') open.pop();
    else open.at(-1)?.push(word);
  }
  assert(open.length === 1 && top.length === 1 && typeof top[0] === 'object', 'one whole form');
  return top[0] as Form;
}

function isForm(part: string | Form): part is Form {
  return typeof part !== 'string';
}

/** A number in LEB128, signed or not. */
function leb(value: number | bigint, kind: 'signed' | 'unsigned' = 'unsigned'): number[] {
  const bytes: number[] = [];
  const sign = kind === 'signed' ? 0x40n : 0n;
  for (let rest = BigInt(value); ; ) {
    const low = rest & 0x7fn;
    rest >>= 7n;
    const isLast = rest === (low & sign ? -1n : 0n);
    bytes.push(Number(isLast ? low : low | 0x80n));
    if (isLast) return bytes;
  }
}

function vector(items: readonly (readonly number[])[]): number[] {
  return [...leb(items.length), ...items.flat()];
}

function sized(bytes: readonly number[]): number[] {
  return [...leb(bytes.length), ...bytes];
}

function exported(form: Form): string {
  const found = form.filter(isForm).find(([head]) => head === 'export')?.[1] as string;
  return found.slice(1, -1);
}

/** The names and types of a function's `param`, `local` or `result` forms. */
function declared(func: Form, kind: string): { name: string; type: number }[] {
  return func
    .filter(isForm)
    .filter(([head]) => head === kind)
    .map((form) => ({
      name: form[1] as string,
      type: TYPES[form.at(-1) as string] as number,
    }));
}

/** What an instruction's code is found with. */
interface Scope {
  readonly locals: readonly string[];
  /** Labels of the blocks around, innermost first. */
  readonly labels: readonly string[];
}

function lanes([shape = '', ...numbers]: readonly string[]): number[] {
  const size = LANE_BYTES[shape] as number;
  const bytes = Buffer.alloc(numbers.length * size);
  numbers.forEach((text, i) => {
    const value = BigInt.asUintN(8 * size, BigInt(text));
    bytes.writeUIntLE(Number(value), i * size, size);
  });
  return [...bytes];
}

function immediate(
  kind: Immediate,
  words: readonly string[],
  align: number,
  { locals, labels }: Scope,
): number[] {
  const [word = ''] = words;
  const place = (names: readonly string[]): number[] => {
    assert(names.includes(word), `${word} is declared`);
    return leb(names.indexOf(word));
  };
  if (kind === 'local') return place(locals);
  if (kind === 'label') return place(labels);
  if (kind === 'i32' || kind === 'i64') return leb(BigInt(word), 'signed');
  if (kind === 'lane') return leb(Number(word));
  if (kind === 'lanes') return lanes(words);
  if (kind === 'memory') return [align, ...leb(Number(word.replace('offset=', '')))];
  return [];
}

function encode(form: Form, scope: Scope): number[] {
  const [head, ...rest] = form as [string, ...(string | Form)[]];
  const words = rest.filter((part) => !isForm(part)) as string[];
  const inner = rest.filter(isForm);
  const block = BLOCKS[head];
  if (block !== undefined) {
    const labels = [words[0] as string, ...scope.labels];
    const body = inner.flatMap((part) => encode(part, { ...scope, labels }));
    return [block, NO_RESULT, ...body, END];
  }
  const found = INSTRUCTIONS[head];
  assert(found, `${head} is an instruction`);
  const [code, kind, align = 0] = found;
  const opcode = code >> 8 === SIMD ? [SIMD, ...leb(code & 0xff)] : [code];
  const operands = inner.flatMap((part) => encode(part, scope));
  return [...operands, ...opcode, ...immediate(kind, words, align, scope)];
}

const DECLARATIONS = ['export', 'param', 'result', 'local'];

function encodeFunction(func: Form): { type: number[]; code: number[] } {
  const params = declared(func, 'param');
  const locals = declared(func, 'local');
  const result = declared(func, 'result');
  const names = [...params, ...locals].map(({ name }) => name);
  const body = func
    .filter(isForm)
    .filter(([head]) => !DECLARATIONS.includes(head as string))
    .flatMap((form) => encode(form, { locals: names, labels: [] }));
  const types = (list: typeof params): number[] => vector(list.map(({ type }) => [type]));
  const type = [0x60, ...types(params), ...types(result)];
  return { type, code: sized([...localGroups(locals.map((local) => local.type)), ...body, END]) };
}

/** Locals are told by runs of one type. */
function localGroups(types: readonly number[]): number[] {
  const groups: { count: number; readonly type: number }[] = [];
  for (const type of types) {
    const last = groups.at(-1);
    if (last?.type === type) last.count++;
    else groups.push({ count: 1, type });
  }
  return vector(groups.map(({ count, type }) => [...leb(count), type]));
}

/** The bytes of the module that `text` describes; a mistake in the text is an assertion. */
export function assembleModule(text: string): Uint8Array<ArrayBuffer> {
  const forms = parse(text).filter(isForm);
  const memory = forms.find(([head]) => head === 'memory') as Form;
  const functions = forms.filter(([head]) => head === 'func');
  const encoded = functions.map(encodeFunction);
  const names = [memory, ...functions].map((form, i) => {
    const name = [...Buffer.from(exported(form))];
    return [...sized(name), ...(i === 0 ? [2, 0] : [0, i - 1])];
  });
  const sections: readonly [number, readonly (readonly number[])[]][] = [
    [SECTION.type, encoded.map(({ type }) => type)],
    [SECTION.function, encoded.map((_, i) => [i])],
    [SECTION.memory, [[0, ...leb(Number(memory.at(-1)))]]],
    [SECTION.export, names],
    [SECTION.code, encoded.map(({ code }) => code)],
  ];
  const bytes = sections.flatMap(([id, items]) => [id, ...sized(vector(items))]);
  return Uint8Array.from([...HEADER, ...bytes]);
}

/** What is used of the global of that name, which the types of Node leave out. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

/** The functions of a module by name, and its memory. */
export type Running<Functions> = Functions & { readonly memory: { readonly buffer: ArrayBuffer } };

/** Runs the module that `text` describes, which exports its memory as `memory`. */
export function runModule<Functions>(text: string): Running<Functions> {
  const module = new WebAssembly.Module(assembleModule(text));
  return new WebAssembly.Instance(module).exports as Running<Functions>;
}
