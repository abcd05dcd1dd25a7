/** Files of the cache as pieces, one after the other: each its length (32 bits, little-endian), then its bytes. */
import { constants, type ZstdOptions, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

const LENGTH_BYTES = 4;

/** A piece as it lies in a file. */
export function packPiece(bytes: Uint8Array): Buffer {
  const packed = Buffer.allocUnsafe(LENGTH_BYTES + bytes.length);
  packed.writeUInt32LE(bytes.length);
  packed.set(bytes, LENGTH_BYTES);
  return packed;
}

/** The pieces of a file, as views of it. */
export function unpackPieces(file: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < file.length; ) {
    const end = at + LENGTH_BYTES + file.readUInt32LE(at);
    pieces.push(file.subarray(at + LENGTH_BYTES, end));
    at = end;
  }
  return pieces;
}

/** Settings for what is written once and read seldom: the quickest level. */
export const QUICK: ZstdOptions = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

/** Compresses a piece. */
export function squeeze(bytes: Uint8Array): Buffer {
  return zstdCompressSync(bytes, QUICK);
}

/** What {@link squeeze} was given. */
export function expand(bytes: Uint8Array): Buffer {
  return zstdDecompressSync(bytes);
}
