/**
 * Loaded before each test file. uvu prints an error's `details` as text and crashes where they are facts by name, as in
 * RechunkError; the message would be lost. Here such details can be split like the text that they are printed as.
 */
export {};

Object.defineProperty(Object.prototype, 'split', {
  configurable: true,
  value(this: object, separator: string): string[] {
    return JSON.stringify(this, undefined, 2).split(separator);
  },
});
