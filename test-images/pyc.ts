/** Compiled Python files for tests: a header as Python writes it, and code that only has to be equal or not. */

/** What a compiled file of Python 3.11 says. */
export interface PycSpec {
  /** The recorded time of the source, seconds; the digest's first half where `flags` say so. */
  readonly seconds: number;
  /** The recorded size of the source, bytes. */
  readonly size: number;
  /** PEP 552: 0 for a time (default), 1 and 3 for a digest. */
  readonly flags?: number;
  /** Default `code`. */
  readonly code?: string;
}

const MAGIC_3_11 = 0x0a0d0da7;

/** The bytes of a compiled file. */
export function makePyc({ seconds, size, flags = 0, code = 'code' }: PycSpec): Buffer {
  const header = Buffer.alloc(16);
  [MAGIC_3_11, flags, seconds, size].forEach((word, i) => {
    header.writeUInt32LE(word, 4 * i);
  });
  return Buffer.concat([header, Buffer.from(code)]);
}
