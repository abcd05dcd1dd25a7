/**
 * Loaded before each test file. What modules compile to is kept for the next file's process, where `RECHUNK_TEST_COMPILED` says: half of
 * the time of a small file is that. uvu prints an error's `details` as text and crashes where they are facts by name, as in
 * RechunkError; the message would be lost. Here such details can be split like the text that they are printed as.
 */
import { enableCompileCache } from 'node:module';

const compiled = process.env['RECHUNK_TEST_COMPILED'];
if (compiled) enableCompileCache(compiled);

Object.defineProperty(Object.prototype, 'split', {
  configurable: true,
  value(this: object, separator: string): string[] {
    return JSON.stringify(this, undefined, 2).split(separator);
  },
});
