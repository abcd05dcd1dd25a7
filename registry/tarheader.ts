/**
 * The fields of one header block: numbers in octal or base 256, text, the checksum in both ways of summing, and the
 * formats' different uses of the prefix (v7, ustar, star, GNU). Reading only.
 */
import { RechunkError } from './errors.ts';
import { showPath } from './path.ts';
import { BLOCK_SIZE, FIELD, type Field } from './tar.ts';

const SPACE = 0x20;
const ZERO = 0x30;
const BINARY_FLAG = 0x80;
const BINARY_NEGATIVE = 0x40;
const BYTE = 256;
const [CHECKSUM_AT, CHECKSUM_SIZE] = FIELD.checksum;

/** The sum of a block's bytes; 0 for a block of zeros only. */
export function sumBlock(block: Buffer, at: number): number {
  let sum = 0;
  for (let i = at; i < at + BLOCK_SIZE; i++) sum += block[i] as number;
  return sum;
}

/** Whether the header's checksum agrees with its bytes, which sum to `sum`; some writers summed bytes as signed. */
export function isChecksumRight(block: Buffer, at: number, sum: number): boolean {
  const field = at + CHECKSUM_AT;
  const stated = readNumber(block, field, CHECKSUM_SIZE);
  let unsigned = sum + CHECKSUM_SIZE * SPACE;
  for (let i = field; i < field + CHECKSUM_SIZE; i++) unsigned -= block[i] as number;
  if (stated === unsigned) return true;
  let high = 0;
  for (let i = at; i < at + BLOCK_SIZE; i++) {
    const isOwn = i >= field && i < field + CHECKSUM_SIZE;
    if (!isOwn && (block[i] as number) >= BINARY_FLAG) high++;
  }
  return stated === unsigned - high * BYTE;
}

/** A number in base 256, big endian, two's complement; bit 7 of the first byte is the mark. */
function readBinary(block: Buffer, at: number, size: number): number {
  const first = block[at] as number;
  const isNegative = (first & BINARY_NEGATIVE) !== 0;
  let value = BigInt(isNegative ? first - BYTE : first & ~BINARY_FLAG);
  for (let i = at + 1; i < at + size; i++)
    value = value * BigInt(BYTE) + BigInt(block[i] as number);
  return Number(value);
}

/** The number in a field, octal or base 256; 0 for an empty field, NaN for none. */
export function readNumber(block: Buffer, at: number, size: number): number {
  if ((block[at] as number) >= BINARY_FLAG) return readBinary(block, at, size);
  const end = at + size;
  let i = at;
  while (i < end && (block[i] === SPACE || block[i] === 0)) i++;
  let value = 0;
  for (; i < end; i++) {
    const digit = (block[i] as number) - ZERO;
    if (digit >= 0 && digit < 8) value = value * 8 + digit;
    else return block[i] === SPACE || block[i] === 0 ? value : Number.NaN;
  }
  return value;
}

/** Throws `tar`: `found` stands where the number `what` should. */
export function refuseNumber(what: string, found: string): never {
  throw new RechunkError('tar', `got ${found} as ${what}, want a number in range`);
}

/** The number in a field of a header, at least 0 and at most 2^53 - 1; throws `tar` naming `what` it is. */
export function parseNumber(block: Buffer, at: number, size: number, what: string): number {
  const value = readNumber(block, at, size);
  if (value >= 0 && Number.isSafeInteger(value)) return value;
  return refuseNumber(what, `"${showPath(block.toString('latin1', at, at + size))}"`);
}

/** The text of a field: up to the first NUL, one char a byte. */
export function parseText(block: Buffer, at: number, size: number): string {
  const limit = at + size;
  let end = at;
  while (end < limit && block[end] !== 0) end++;
  return block.toString('latin1', at, end);
}

/** Whether the block begins its magic with `text`. */
function hasMagic(block: Buffer, at: number, text: string): boolean {
  const field = at + FIELD.magic[0];
  for (let i = 0; i < text.length; i++) if (block[field + i] !== text.charCodeAt(i)) return false;
  return true;
}

/**
 * The prefix of the name. GNU headers hold times in its place; only Go before 1.8 wrote prefixes there, told as Go tells
 * them: the times make no numbers and the text is ASCII.
 */
export function prefixOf(block: Buffer, at: number): string {
  const [field, size] = FIELD.prefix;
  if (block[at + field] === 0) return '';
  if (hasMagic(block, at, 'ustar\0')) return parseText(block, at + field, size);
  if (!hasMagic(block, at, 'ustar  \0')) return '';
  const isTime = ([place, length]: Field): boolean =>
    !Number.isNaN(readNumber(block, at + place, length));
  if (isTime(FIELD.gnuAtime) && isTime(FIELD.gnuCtime)) return '';
  const prefix = parseText(block, at + field, size);
  return /^[\x01-\x7f]*$/.test(prefix) ? prefix : '';
}
