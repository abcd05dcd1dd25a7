/**
 * Sparse files of GNU tar in all four forms: old GNU (type `S`, map in the header and blocks after it), PAX 0.0 and 0.1
 * (map in the extended header), PAX 1.0 (map at the start of the content). GNU tar manual 1.35, "Storing Sparse Files".
 */
import { RechunkError } from './errors.ts';
import { BLOCK_SIZE, EXTENSION_LIMIT, type Extent, FIELD } from './tar.ts';
import { parseNumber } from './tarheader.ts';

/** Offset in the file and size, by turns. */
export type SparseMap = readonly number[];

/** How an extended header says that a file is sparse. */
export interface SparseForm {
  /** Bytes of the expanded file. */
  readonly size: number;
  /** Absent when the map stands at the start of the content (form 1.0). */
  readonly map?: SparseMap;
}

const PAIR_SIZE = 24;
const NUMBER_SIZE = 12;
const HEADER_PAIRS = 4;
const BLOCK_PAIRS = 21;
const NEWLINE = 0x0a;
const ZERO = 0x30;

function fail(found: string): never {
  throw new RechunkError('tar', `reading the map of a sparse file: ${found}`);
}

function parseDecimal(text: string | undefined, what: string): number {
  const number = text !== undefined && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(number)) fail(`got "${text ?? ''}" as ${what}, want a number`);
  return number;
}

/** How the fields of an extended header describe a sparse file; undefined when they describe none. */
export function parseSparseForm(fields: ReadonlyMap<string, string>): SparseForm | undefined {
  const map = fields.get('GNU.sparse.map');
  const major = fields.get('GNU.sparse.major');
  const minor = fields.get('GNU.sparse.minor');
  if (map === undefined && major === undefined && minor === undefined) return undefined;
  const size = parseDecimal(
    fields.get('GNU.sparse.realsize') ?? fields.get('GNU.sparse.size'),
    'the size',
  );
  if (major === '1' && minor === '0') return { size };
  if (major !== undefined && major !== '0') {
    throw new RechunkError(
      'unsupported',
      `reading a sparse file: got form ${major}.${minor}, want 0.0, 0.1 or 1.0`,
    );
  }
  const numbers = map ? map.split(',').map((text) => parseDecimal(text, 'an entry')) : [];
  if (numbers.length % 2 !== 0) fail(`got ${numbers.length} numbers, want pairs`);
  return { size, map: numbers };
}

/** Collects the map of an old GNU sparse file from its header and the blocks that follow. */
export class GnuSparseMap {
  readonly numbers: number[] = [];
  /** Bytes of the map that the entry's stored size counts. */
  readonly contentBytes = 0;
  #more = true;
  #bytes = 0;

  /** Whether another block of the map follows. */
  get more(): boolean {
    return this.#more;
  }

  /** Takes the pairs in the header at `at`. */
  takeHeader(block: Buffer, at: number): void {
    this.#takePairs(block, at + FIELD.gnuSparse[0], HEADER_PAIRS);
    this.#more = block[at + FIELD.gnuIsExtended[0]] !== 0;
  }

  /** Takes one block of the map. */
  takeBlock(block: Buffer, at: number): void {
    this.#bytes += BLOCK_SIZE;
    if (this.#bytes > EXTENSION_LIMIT) failLimit();
    this.#takePairs(block, at, BLOCK_PAIRS);
    this.#more = block[at + BLOCK_PAIRS * PAIR_SIZE] !== 0;
  }

  #takePairs(block: Buffer, at: number, count: number): void {
    for (let pair = at; pair < at + count * PAIR_SIZE; pair += PAIR_SIZE) {
      if (block[pair] === 0) return;
      this.numbers.push(
        parseNumber(block, pair, NUMBER_SIZE, 'a sparse offset'),
        parseNumber(block, pair + NUMBER_SIZE, NUMBER_SIZE, 'a sparse size'),
      );
    }
  }
}

function failLimit(): never {
  throw new RechunkError(
    'limit',
    `reading the map of a sparse file: it has more than ${EXTENSION_LIMIT} bytes`,
  );
}

/** Collects the map of a PAX 1.0 sparse file: a count and as many pairs, one decimal a line, filled up to a block. */
export class PaxSparseMap {
  readonly numbers: number[] = [];
  #count: number | undefined;
  #number = 0;
  #digits = 0;
  #bytes = 0;

  /** Bytes of the map that the entry's stored size counts. */
  get contentBytes(): number {
    return this.#bytes;
  }

  /** Whether another block of the map follows. */
  get more(): boolean {
    return this.#count === undefined || this.numbers.length < this.#count * 2;
  }

  /** Takes one block of the map. */
  takeBlock(block: Buffer, at: number): void {
    this.#bytes += BLOCK_SIZE;
    if (this.#bytes > EXTENSION_LIMIT) failLimit();
    for (let i = at; i < at + BLOCK_SIZE && this.more; i++) {
      const code = block[i] as number;
      if (code === NEWLINE) this.#endNumber();
      else this.#takeDigit(code - ZERO);
    }
  }

  #takeDigit(digit: number): void {
    if (digit < 0 || digit > 9) fail(`got byte ${digit + ZERO}, want a digit`);
    this.#number = this.#number * 10 + digit;
    this.#digits++;
    if (!Number.isSafeInteger(this.#number)) fail('a number is too large');
  }

  #endNumber(): void {
    if (this.#digits === 0) fail('a line is empty');
    if (this.#count === undefined) this.#count = this.#number;
    else this.numbers.push(this.#number);
    this.#number = 0;
    this.#digits = 0;
  }
}

/**
 * The stretches of data of a sparse file of `size` bytes, whose `stored` bytes of data begin at `offset` in the stream;
 * empty ones dropped, adjoining ones joined. Throws `tar` unless the map is ascending, ends within the file and accounts
 * for every stored byte.
 */
export function extentsOf(map: SparseMap, size: number, stored: number, offset: number): Extent[] {
  const extents: Extent[] = [];
  let end = 0;
  let taken = 0;
  for (let i = 0; i < map.length; i += 2) {
    const at = map[i] as number;
    const length = map[i + 1] as number;
    if (at < end) fail(`a stretch at ${at} begins before the end of the last, ${end}`);
    if (at + length > size) fail(`a stretch ends at ${at + length}, but the file at ${size}`);
    const last = extents.at(-1);
    if (length > 0 && last && last.at + last.size === at) {
      extents[extents.length - 1] = { ...last, size: last.size + length };
    } else if (length > 0) extents.push({ at, offset: offset + taken, size: length });
    taken += length;
    end = at + length;
  }
  if (taken !== stored) fail(`it has ${taken} bytes of data, but ${stored} are stored`);
  return extents;
}
