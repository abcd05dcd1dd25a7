/**
 * What stands before a header and changes what it says: PAX headers for the next entry (`x`) and for all that follow
 * (`g`), GNU long names (`L`) and long link targets (`K`).
 */
import { RechunkError } from './errors.ts';
import { type PaxRecords, parsePax } from './pax.ts';
import { EXTENSION_LIMIT } from './tar.ts';
import { parseSize } from './tarentry.ts';
import { parseText } from './tarheader.ts';

/** Type flags of extensions. */
export type ExtensionFlag = 'x' | 'g' | 'L' | 'K';

/** Records that cannot sensibly hold for all entries that follow. */
const NEVER_GLOBAL = /^(path|linkpath|size|GNU\.sparse\..*)$/s;

/** Most global records at a time: each entry takes them over, and real archives have one or two. */
const GLOBAL_LIMIT = 64;

/** Whether the flag is one of an extension, whose body says more of the entry that follows. */
export function isExtension(flag: string): flag is ExtensionFlag {
  return flag === 'x' || flag === 'g' || flag === 'L' || flag === 'K';
}

/** `records` over `base`; an empty value takes a global field back, down to what the header itself says. */
function mergePax(base: PaxRecords | undefined, records: PaxRecords): PaxRecords {
  if (!base) return records;
  return {
    fields: new Map([...base.fields, ...records.fields]),
    xattrs: new Map([...base.xattrs, ...records.xattrs]),
  };
}

/** Collects the extensions of the entry to come. */
export class TarExtensions {
  /** Takes a sentence for what is read differently elsewhere, or not kept. */
  readonly warn: (warning: string) => void;
  #globals: PaxRecords | undefined;
  #pax: PaxRecords | undefined;
  #longName: string | undefined;
  #longLink: string | undefined;

  constructor(warn: (warning: string) => void) {
    this.warn = warn;
  }

  /** The records that hold for the entry, global ones included. */
  get pax(): PaxRecords | undefined {
    return this.#pax ?? this.#globals;
  }

  get longName(): string | undefined {
    return this.#longName;
  }

  get longLink(): string | undefined {
    return this.#longLink;
  }

  /** Whether there are extensions whose entry is still to come. */
  get isPending(): boolean {
    return (this.#pax ?? this.#longName ?? this.#longLink) !== undefined;
  }

  /** The size of the body that follows the header at `at`; throws for a second extension of a kind, as readers differ. */
  start(flag: ExtensionFlag, block: Buffer, at: number): number {
    const known = { x: this.#pax, g: undefined, L: this.#longName, K: this.#longLink }[flag];
    if (known !== undefined) throw new RechunkError('tar', `it has two extensions of type ${flag}`);
    const size = parseSize(block, at, undefined);
    if (size <= EXTENSION_LIMIT) return size;
    const found = `an extension of type ${flag} has ${size} bytes`;
    throw new RechunkError('limit', `${found}, at most ${EXTENSION_LIMIT} are read`);
  }

  /** Takes the body of an extension. */
  take(flag: ExtensionFlag, body: Buffer): void {
    if (flag === 'L') this.#longName = parseText(body, 0, body.length);
    else if (flag === 'K') this.#longLink = parseText(body, 0, body.length);
    else if (flag === 'x') this.#pax = mergePax(this.#globals, parsePax(body));
    else this.#takeGlobals(parsePax(body));
  }

  /** Forgets all but the global records: their entry has come. */
  clear(): void {
    this.#pax = undefined;
    this.#longName = undefined;
    this.#longLink = undefined;
  }

  #takeGlobals(records: PaxRecords): void {
    for (const key of records.fields.keys()) {
      if (NEVER_GLOBAL.test(key)) {
        const found = `a global header sets "${key}" for all that follows`;
        throw new RechunkError('unsupported', found);
      }
      if (key !== 'comment') this.warn(`a global header sets ${key}; container runtimes ignore it`);
    }
    if (records.xattrs.size > 0) {
      this.warn('a global header sets xattrs; container runtimes ignore it');
    }
    const merged = mergePax(this.#globals, records);
    const count = merged.fields.size + merged.xattrs.size;
    if (count > GLOBAL_LIMIT) {
      const found = `global headers set ${count} records`;
      throw new RechunkError('limit', `${found}, at most ${GLOBAL_LIMIT} are read`);
    }
    this.#globals = merged;
  }
}
