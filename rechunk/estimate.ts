/**
 * Estimates compressed sizes in integers, so that a plan does not depend on the compressor that is installed. Ratios were
 * measured on Debian, Alpine and npm trees with zstd level 3; they have a version, since other figures give other plans.
 */
import { nameOf } from '../registry/path.ts';
import type { Entry } from './tree.ts';

/** Changes with the figures below. */
export const ESTIMATE_VERSION = 1;

/** Compressed bytes of a tar header among its like. */
const HEADER_BYTES = 48;
/** Compressed share of content in 256ths, where the name does not say more. */
const DEFAULT_SHARE = 90;
/** Compressed share of content that is compressed already, in 256ths. */
const PACKED_SHARE = 252;

const PACKED =
  /\.(gz|tgz|xz|txz|bz2|zst|lz4|lzma|zip|jar|war|ear|apk|whl|gem|png|jpe?g|gif|webp|avif|mp[34]|m4a|og[gv]|webm|woff2?|br|7z|rpm|deb|npz|safetensors|gguf)$/i;

/** Bytes of tar that an entry takes: header, and content to whole blocks. PAX headers are not counted. */
export function tarSizeOf(entry: Entry): number {
  return 512 + Math.ceil(entry.inode.size / 512) * 512;
}

/** Estimated compressed bytes of an entry's header and content. */
export function compressedSizeOf(entry: Entry): number {
  const share = PACKED.test(nameOf(entry.path)) ? PACKED_SHARE : DEFAULT_SHARE;
  return HEADER_BYTES + Math.ceil((entry.inode.size / 256) * share);
}
